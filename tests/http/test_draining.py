"""Letting connections end: nothing that is owed is lost, nothing idle stays."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

from hybrid.config import HttpConfig
from tests.http.conftest import HELLO, Routes, answer, echo, judge, serving, within

SETTINGS = replace(HttpConfig(), linger=0.3)


def test_a_running_request_is_finished_and_says_close(run: Any) -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.wait_for(release.wait(), 10)
        await answer(send, b"slow")

    async def main() -> None:
        async with serving(Routes(slow=slow), SETTINGS) as running:
            client = await running.connect()
            client.send(HELLO.replace(b"/hello", b"/slow"))
            await running.until(lambda: running.server.statistics().requests_active == 1)
            running.server.stop_accepting()
            draining = asyncio.ensure_future(running.server.drain(5))
            await asyncio.sleep(0)  # the drain has begun
            assert not draining.done()
            release.set()
            got = judge(await client.read_all(), "GET")[0]
            assert (got.body, got.headers["connection"]) == (b"slow", "close")
            assert await within(draining) == 0

    run(main())


def test_an_idle_connection_lingers_for_one_more_request(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(), SETTINGS) as running:
            used, idle, never = [await running.connect() for _ in range(3)]
            await used.get()
            await idle.get()
            await running.until(lambda: running.server.statistics().accepted == 3)
            running.server.stop_accepting()
            draining = asyncio.ensure_future(running.server.drain(10))
            got = await used.get()
            assert got.headers["connection"] == "close"
            assert await used.is_closed()
            assert await idle.is_closed()
            assert await never.is_closed()
            assert await within(draining) == 0

    run(main())


def test_a_half_read_request_is_finished(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=echo), SETTINGS) as running:
            head, body = await running.connect(), await running.connect()
            head.send(HELLO[:10])
            body.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            await running.until(lambda: running.server.statistics().requests_active == 1)
            running.server.stop_accepting()
            draining = asyncio.ensure_future(running.server.drain(10))
            await asyncio.sleep(0.5)  # longer than the linger
            head.send(HELLO[10:])
            body.send(b"cd")
            assert judge(await head.read_all(), "GET")[0].body == b"hello"
            assert judge(await body.read_all(), "POST")[0].body == b"abcd"
            assert await within(draining) == 0

    run(main())


def test_at_the_grace_limit_the_rest_is_cut_with_a_line_each(run: Any, caplog: Any) -> None:
    cancelled: list[bool] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> None:
        async with serving(Routes(endless=endless), SETTINGS) as running:
            clients = [await running.connect() for _ in range(2)]
            for client in clients:
                client.send(HELLO.replace(b"/hello", b"/endless"))
            await running.until(lambda: running.server.statistics().requests_active == 2)
            running.server.stop_accepting()
            assert await within(running.server.drain(0.2)) == 2
            for client in clients:
                assert await client.is_closed()
        lines = [r.getMessage() for r in caplog.records if "grace period over" in r.getMessage()]
        assert len(lines) == 2
        assert all("/endless" in line and "request_id=" in line for line in lines)
        assert cancelled == [True, True]

    run(main())


def test_the_last_acceptor_answers_what_waits_in_the_backlog(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(), SETTINGS) as running:
            running.server.stop_accepting()
            clients = [await running.connect() for _ in range(40)]
            for client in clients:
                client.send(HELLO)
            assert running.server.accept_remaining([running.listener]) == 40
            draining = asyncio.ensure_future(running.server.drain(10))
            for client in clients:
                got = judge(await client.read_all(), "GET")[0]
                assert (got.status, got.headers["connection"]) == (200, "close")
            assert await within(draining) == 0

    run(main())


def test_the_backlog_is_untouched_by_accepting(run: Any) -> None:
    """A second listen() would shrink it: more clients than asyncio's 100 wait at once."""

    async def main() -> None:
        async with serving(Routes(), SETTINGS) as running:
            running.server.stop_accepting()
            loop = asyncio.get_running_loop()
            socks = []
            for _ in range(300):
                sock = socket.socket()
                sock.setblocking(False)
                await within(loop.sock_connect(sock, ("127.0.0.1", running.port)), 2)
                socks.append(sock)
            assert running.server.accept_remaining([running.listener]) == 300
            for sock in socks:
                sock.close()

    run(main())
