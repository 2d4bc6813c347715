"""What a WebSocket peer can make the server keep: its memory, while the peer goes on and on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hybrid.config import HttpConfig
from hybrid.http.exchange import websocket
from tests.http.conftest import Routes, serving, within
from tests.http.floods import bounded, flood
from tests.http.raw_websocket import HANDSHAKE, Echo, frame


def test_behind_a_handshake_that_was_not_accepted_nothing_is_kept(run: Any) -> None:
    async def deny(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who"})

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    async def leave(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def main() -> None:
        async with serving(Routes(deny=deny, fail=fail, leave=leave)) as running:
            for path, status in (("deny", 401), ("fail", 500), ("leave", 500)):
                client = await running.connect()
                client.send(HANDSHAKE.replace(b"/echo", b"/" + path.encode()))
                got = await client.read_answer()
                assert (got.status, got.headers["connection"]) == (status, "close")
                with bounded(2_000_000):
                    await flood(client, b"x" * 100_000)
                client.close()
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "tiny"])
def test_a_message_of_endless_fragments_keeps_no_more_than_their_bytes(
    run: Any, payload: bytes
) -> None:
    async def main() -> None:
        echo = Echo()
        async with serving(Routes(echo=echo)) as running:
            client = await running.connect()
            client.send(HANDSHAKE)
            await client.read_head()
            client.send(frame(1, b"a", fin=False))
            fragments = frame(0, payload, fin=False) * 1000
            with bounded(2_000_000):
                for _ in range(40):
                    client.send(fragments)
                    await client.writer.drain()
                client.send(frame(9, b"end"))
                assert await within(client.reader.readexactly(5)) == b"\x8a\x03end"
            client.send(frame(0, b"z"))
            await running.until(lambda: bool(echo.events))
            assert echo.events[0]["text"] == "a" + payload.decode() * 40_000 + "z"

    run(main())


def test_pings_of_a_client_that_never_reads_keep_nothing_and_it_is_still_heard(run: Any) -> None:
    heard: list[Any] = []

    async def ear(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while not heard or heard[-1]["type"] != "websocket.disconnect":
            heard.append(await receive())

    async def main() -> None:
        async with serving(Routes(ear=ear)) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(HANDSHAKE.replace(b"/echo", b"/ear"))
            await client.read_head()
            with bounded(2_000_000):
                await flood(client, frame(9, b"p" * 125) * 100)
                client.send(frame(9, b"the last ping") + frame(1, b"heard") + frame(8, b""))
                await running.until(lambda: len(heard) == 2)
            assert heard[0]["text"] == "heard"
            got = await client.read_all()
            assert b"\x8a\x0dthe last ping" not in got  # the close overtakes it
            assert got.startswith(b"\x8a\x7d" + b"p" * 125)

    run(main())


async def talkative(scope: Any, receive: Any, send: Any) -> None:
    """Sends without end."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "bytes": b"x" * 60_000})


def test_the_latest_ping_is_answered_when_the_client_reads_again(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(HANDSHAKE)
            await client.read_head()
            await flood(client, frame(9, b"p" * 125) * 100)
            client.send(frame(9, b"the last ping"))
            got = b""
            while not got.endswith(b"\x8a\x0dthe last ping"):
                got = got[-20:] + await within(client.reader.read(100_000))

    run(main())


def test_a_client_that_reads_slowly_is_not_cut_while_it_reads(run: Any) -> None:
    settings = replace(HttpConfig(), websocket_ping=0.1, linger=0.1)

    async def main() -> None:
        async with serving(Routes(talk=talkative), settings) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(HANDSHAKE.replace(b"/echo", b"/talk"))
            await client.read_head()
            clock = asyncio.get_running_loop().time
            end = clock() + 1.5  # s, many times --websocket-ping
            while clock() < end:
                await within(client.reader.readexactly(20_000))
                await asyncio.sleep(0.005)
            assert running.server.statistics().connections == 1

    run(main())


@pytest.mark.parametrize("ping", [0, 20.0])
def test_a_client_that_never_reads_is_cut_after_the_body_timeout(run: Any, ping: float) -> None:
    settings = replace(HttpConfig(), websocket_ping=ping, body_timeout=0.2)

    async def main() -> None:
        async with serving(Routes(talk=talkative, echo=Echo()), settings) as running:
            for path in (b"/talk", b"/echo"):
                client = await running.connect(limit=1000, receive_buffer=4096)
                client.send(HANDSHAKE.replace(b"/echo", path))
                await client.read_head()
                await flood(client, frame(9, b"p" * 125) * 100)
                await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


def test_a_close_behind_what_is_not_read_does_not_wait_for_ever(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "_CLOSING", 0.2)
    settings = replace(HttpConfig(), websocket_ping=0, linger=0.1)

    async def main() -> None:
        async with serving(Routes(talk=talkative), settings) as running:
            for last in (frame(3, b""), frame(8, b"")):  # malformed, and a close
                client = await running.connect(limit=1000, receive_buffer=4096)
                client.send(HANDSHAKE.replace(b"/echo", b"/talk"))
                await client.read_head()
                client.send(last)
                await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


def test_a_client_that_waits_for_the_application_is_not_cut(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    time_out = websocket.WebSocketExchange.time_out

    def count(self: Any) -> None:
        looks.append(None)
        time_out(self)

    monkeypatch.setattr(websocket.WebSocketExchange, "time_out", count)
    settings = replace(HttpConfig(), websocket_ping=0.05, linger=0.1)
    release = asyncio.Event()

    async def lazy(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await release.wait()
        for _ in range(20):
            await receive()
        await send({"type": "websocket.send", "text": "all"})
        await receive()

    async def main() -> None:
        async with serving(Routes(lazy=lazy), settings) as running:
            client = await running.connect()
            client.send(HANDSHAKE.replace(b"/echo", b"/lazy"))
            await client.read_head()
            client.send(frame(2, b"x" * 100_000) * 20)
            await running.until(lambda: len(looks) > 5)
            release.set()
            got = await within(client.reader.readuntil(b"\x81\x03all"))
            assert got.count(b"\x89\x00") < len(looks)

    run(main())


def test_messages_without_payload_wait_outside_until_the_application_takes_some(run: Any) -> None:
    release = asyncio.Event()
    count = 200_000
    taken: list[int] = []

    async def lazy(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await release.wait()
        for _ in range(count):
            assert (await receive())["bytes"] == b""
        taken.append(count)
        await receive()

    async def main() -> None:
        async with serving(Routes(lazy=lazy)) as running:
            client = await running.connect()
            client.send(HANDSHAKE.replace(b"/echo", b"/lazy"))
            await client.read_head()
            messages = frame(2, b"") * 1000
            with bounded(3_000_000):
                for _ in range(count // 1000):
                    client.send(messages)
                left = -1
                while left != client.writer.transport.get_write_buffer_size():
                    left = client.writer.transport.get_write_buffer_size()
                    await asyncio.sleep(0.1)
            release.set()
            await running.until(lambda: bool(taken))

    run(main())


def test_a_close_is_heard_behind_messages_that_the_application_did_not_want(run: Any) -> None:
    async def brief(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    async def main() -> None:
        async with serving(Routes(brief=brief)) as running:
            client = await running.connect()
            client.send(HANDSHAKE.replace(b"/echo", b"/brief"))
            await client.read_head()
            client.send(frame(2, b"x" * 10_000) * 100)
            close = b"\x03\xe8"
            assert await within(client.reader.readexactly(4)) == b"\x88\x02" + close
            client.send(frame(8, close))
            assert await client.read_all() == b""  # an end of stream, no reset

    run(main())
