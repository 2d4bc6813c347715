"""Clients that leave while an answer is owed, in every way that there is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hybrid.config import HttpConfig
from tests.http.conftest import HELLO, Client, Routes, answer, judge, serving, within

SETTINGS = HttpConfig()
HALF_CLOSE = replace(SETTINGS, half_close=True)
SLOW = HELLO.replace(b"/hello", b"/slow")
WAYS: dict[str, Callable[[Client], None]] = {
    "reset": Client.reset,
    "close": Client.close,
    "half-close": Client.half_close,
}


class Slow:
    """An application that notes what it hears, and answers when the test says so."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.bodies: list[bytes] = []
        self.release = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["hybrid.departure"].on(lambda: self.heard.append("departure"))
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.heard.append("disconnect")
                return
            self.bodies.append(message["body"])
            more = message["more_body"]
        self.heard.append("request")
        waits = [asyncio.ensure_future(receive()), asyncio.ensure_future(self.release.wait())]
        await asyncio.wait(waits, return_when="FIRST_COMPLETED")
        if waits[0].done():
            self.heard.append(waits[0].result()["type"].removeprefix("http."))
        for wait in waits:
            wait.cancel()
        with contextlib.suppress(OSError):
            await answer(send, b"slow")
            self.heard.append("answered")


@pytest.mark.parametrize("how", WAYS)
def test_a_client_that_leaves_is_noticed_at_once(run: Any, how: str) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow)) as running:
            client = await running.connect()
            client.send(SLOW)
            await running.until(lambda: slow.heard == ["request"])
            WAYS[how](client)
            await running.until_applications_end()
            assert slow.heard == ["request", "departure", "disconnect"]
            assert running.server.statistics().responses_4xx == 1  # 499
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


def test_leaving_in_the_middle_of_an_answer_is_noticed_though_nothing_is_written(
    run: Any,
) -> None:
    events: list[str] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        events.append((await receive())["type"])
        with pytest.raises(OSError, match="gone"):
            await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})

    async def main() -> None:
        async with serving(Routes(stream=stream)) as running:
            client = await running.connect()
            client.send(HELLO.replace(b"/hello", b"/stream"))
            await within(client.reader.readuntil(b"data: 1\n\n"))
            client.close()
            await running.until_applications_end()
            assert events == ["http.disconnect"]

    run(main())


def test_an_application_does_not_wait_for_a_reader_that_has_left(run: Any) -> None:
    refused: list[int] = []

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(10_000):
            try:
                await send(
                    {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}
                )
            except OSError:
                refused.append(number)
                return

    async def main() -> None:
        settings = replace(SETTINGS, body_timeout=3600.0)
        async with serving(Routes(flood=flood), settings) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(HELLO.replace(b"/hello", b"/flood"))
            await client.read_head()
            (connection,) = running.shared.connections
            await running.until(lambda: connection.is_write_paused)
            client.half_close()  # and it reads nothing more
            await running.until(lambda: refused)

    run(main())


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
def test_an_upload_that_is_cut_short_is_never_taken_as_complete(
    run: Any, how: str, half_close: bool, framing: bytes
) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow), replace(SETTINGS, half_close=half_close)) as running:
            client = await running.connect()
            client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n5\r\nab" % framing)
            await running.until(lambda: slow.bodies)
            WAYS[how](client)
            await running.until_applications_end()
            assert slow.heard == ["departure", "disconnect"]

    run(main())


def test_a_client_that_leaves_after_100_continue_is_noticed(run: Any) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow)) as running:
            client = await running.connect()
            head = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
            client.send(head + b"Expect: 100-continue\r\n\r\n")
            assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.close()
            await running.until_applications_end()
            assert slow.heard == ["departure", "disconnect"]

    run(main())


def test_an_end_that_comes_together_with_its_request_is_departure(run: Any) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow)) as running:
            # The server is on this loop: it cannot read before all of this has been sent.
            with socket.create_connection(("127.0.0.1", running.port)) as client:
                client.sendall(SLOW)
            await running.until(lambda: "disconnect" in slow.heard)
            assert "answered" not in slow.heard

    run(main())


def test_the_other_requests_of_a_client_that_has_left_are_dropped(run: Any) -> None:
    slow = Slow()
    routes = Routes(slow=slow)

    async def main() -> None:
        async with serving(routes) as running:
            client = await running.connect()
            client.send(SLOW + HELLO * 2)
            await running.until(lambda: slow.heard == ["request"])
            client.half_close()
            assert await client.read_all() == b""
            assert [scope["path"] for scope in routes.scopes] == ["/slow"]
            assert running.server.statistics().requests_total == 1

    run(main())


def test_a_complete_answer_is_still_sent_to_a_client_that_sends_no_more(run: Any) -> None:
    size = 20_000_000  # more than kernel and client take

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * size)

    async def main() -> None:
        routes = Routes(large=large)
        async with serving(routes) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(HELLO.replace(b"/hello", b"/large") + HELLO)
            await running.until(lambda: running.server.statistics().requests_total == 1)
            (connection,) = running.shared.connections
            assert connection.is_write_paused
            client.half_close()
            await running.until(lambda: connection.half_closed)
            (got,) = judge(await client.read_all(), "GET")
            assert len(got.body) == size
            # The second one had no answer yet, and gets none.
            assert [scope["path"] for scope in routes.scopes] == ["/large"]

    run(main())


def test_a_client_that_has_read_all_that_was_announced_has_its_answer(run: Any) -> None:
    """The application says only after the last byte that it was the last one."""
    heard: list[str] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        heard.append((await receive())["type"])

    async def main() -> None:
        async with serving(Routes(late=late)) as running:
            client = await running.connect()
            client.send(HELLO.replace(b"/hello", b"/late"))
            await within(client.reader.readuntil(b"abc"))
            client.close()
            await running.until(lambda: heard)
            found = running.server.statistics()
            assert (found.requests_total, found.responses_4xx) == (1, 0)

    run(main())


def test_a_drain_does_not_wait_for_a_client_that_has_left(run: Any) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow)) as running:
            client = await running.connect()
            client.send(SLOW)
            await running.until(lambda: slow.heard == ["request"])
            draining = asyncio.ensure_future(running.server.drain(3600))
            client.close()
            assert await within(draining) == 0
            assert slow.heard[1:] == ["departure", "disconnect"]

    run(main())


def test_with_half_close_the_end_of_input_is_no_departure(run: Any) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow), HALF_CLOSE) as running:
            client = await running.connect()
            client.send(SLOW + HELLO)
            client.half_close()
            await running.until(lambda: [c for c in running.shared.connections if c.half_closed])
            slow.release.set()
            answers = judge(await client.read_all(), "GET", "GET")
            assert [got.body for got in answers] == [b"slow", b"hello"]
            assert slow.heard == ["request", "answered"]

    run(main())


def test_with_half_close_a_reset_is_departure(run: Any) -> None:
    slow = Slow()

    async def main() -> None:
        async with serving(Routes(slow=slow), HALF_CLOSE) as running:
            client = await running.connect()
            client.send(SLOW)
            await running.until(lambda: slow.heard == ["request"])
            client.reset()
            await running.until(lambda: slow.heard[1:] == ["departure", "disconnect"])

    run(main())
