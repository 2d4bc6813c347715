"""Limits met by many clients at once: each gets its status, and all together stay small.

The clients are bare sockets, so that nearly all memory counted is the server's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from hybrid.config import HttpConfig
from tests.http.conftest import HELLO, Routes, Running, answer, echo, judge, serving, within
from tests.http.floods import bounded

CROWD = 200
EACH = 16_000  # bytes of Python memory per client at the peak: connection, request, task, answer
SETTINGS = HttpConfig()
QUICK = replace(SETTINGS, header_timeout=0.5, body_timeout=0.5, keep_alive=5, linger=0.2)
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"


async def arrive(running: Running, data: bytes, count: int = CROWD) -> list[socket.socket]:
    """Connect `count` clients, each of which says `data` and no more."""
    loop = asyncio.get_running_loop()
    crowd = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", running.port))
        await loop.sock_sendall(sock, data)
        crowd.append(sock)
    return crowd


async def hear(sock: socket.socket) -> bytes:
    """Everything until the server closes."""
    loop = asyncio.get_running_loop()
    data = b""
    while piece := await within(loop.sock_recv(sock, 65536)):
        data += piece
    sock.close()
    return data


async def hear_all(crowd: Iterable[socket.socket]) -> list[bytes]:
    return [await hear(sock) for sock in crowd]


async def said_in_the_end(
    app: Any, settings: HttpConfig, data: bytes, count: int = CROWD
) -> list[bytes]:
    """What each of a crowd hears until it is closed, while memory stays in its bounds."""
    async with serving(app, settings) as running:
        for sock in await arrive(running, HELLO, 20):  # what grows once has grown
            sock.close()
        await running.until(lambda: running.server.statistics().connections == 0)
        # What one client sends may be here twice, in the piece that came and as a header.
        with bounded((EACH + 2 * len(data)) * count):
            crowd = await arrive(running, data, count)
            heard = await hear_all(crowd)
        await running.until(lambda: running.server.statistics().connections == 0)
        return heard


@pytest.mark.parametrize(
    ("data", "status", "flag"),
    [
        (HELLO[:-2], 408, b"--header-timeout"),
        (HELLO[:10], 408, b"--header-timeout"),
        (POST + b"Content-Length: 5\r\n\r\nab", 408, b"--body-timeout"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", 408, b"--body-timeout"),
        (POST + b"Content-Length: 99\r\n\r\n", 413, b"--max-body"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n63\r\n" + b"x" * 99, 413, b"--max-body"),
        (HELLO.replace(b"/hello", b"/" + b"x" * 9000), 414, b"--max-request-line"),
        (HELLO[:-2] + b"X: y\r\n" * 101, 431, b"--max-headers"),
        (HELLO[:-2] + b"X: " + b"y" * 17_000, 431, b"--max-header-bytes"),
    ],
)
def test_each_of_a_crowd_is_told_which_limit_it_met(
    run: Any, data: bytes, status: int, flag: bytes
) -> None:
    settings = replace(QUICK, max_body=50, max_header_bytes=8000)

    async def main() -> None:
        for heard in await said_in_the_end(Routes(echo=echo), settings, data):
            got = judge(heard, "POST" if data[:4] == b"POST" else "GET")[0]
            assert (got.status, got.headers["connection"]) == (status, "close")
            assert flag in got.body

    run(main())


def test_idle_connections_are_closed_after_their_answer_and_leave_nothing(run: Any) -> None:
    async def main() -> None:
        for heard in await said_in_the_end(Routes(), replace(QUICK, keep_alive=1), HELLO):
            got = judge(heard, "GET")[0]
            assert (got.status, got.headers.get("connection")) == (200, None)

    run(main())


def test_what_is_behind_the_last_request_of_a_connection_is_not_kept(run: Any) -> None:
    async def main() -> None:
        settings = replace(QUICK, keepalive_requests=2)
        for heard in await said_in_the_end(Routes(), settings, HELLO * 100):
            assert [got.status for got in judge(heard, "GET", "GET")] == [200, 200]

    run(main())


def test_above_the_limit_of_connections_a_crowd_waits_in_the_backlog(run: Any) -> None:
    most = 0

    async def main() -> None:
        async def counted(scope: Any, receive: Any, send: Any) -> None:
            nonlocal most
            most = max(most, running.server.statistics().connections)
            await asyncio.sleep(0)
            await answer(send, b"counted", 200, ((b"connection", b"close"),))

        async with serving(counted, replace(QUICK, limit_connections=10)) as running:
            with bounded(EACH * CROWD):
                crowd = await arrive(running, HELLO)
                heard = await hear_all(crowd)
            assert [judge(data, "GET")[0].body for data in heard] == [b"counted"] * CROWD
            assert 0 < most <= 10

    run(main())


def test_above_the_limit_of_requests_a_crowd_gets_503_and_when_to_come_again(run: Any) -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.wait_for(release.wait(), 20)
        await answer(send, b"slow")

    async def main() -> None:
        settings = replace(QUICK, limit_concurrency=3)
        async with serving(Routes(slow=slow), settings) as running:
            three = await arrive(running, HELLO.replace(b"/hello", b"/slow"), 3)
            await running.until(lambda: running.server.statistics().requests_active == 3)
            with bounded(EACH * CROWD):
                crowd = await arrive(running, HELLO)
                heard = await hear_all(crowd)
            for data in heard:
                got = judge(data, "GET")[0]
                assert (got.status, got.headers["retry-after"]) == (503, "1")
            release.set()
            assert [judge(data, "GET")[0].body for data in await hear_all(three)] == [b"slow"] * 3

    run(main())


def test_clients_that_read_nothing_are_cut_and_hold_no_more_than_the_buffer(run: Any) -> None:
    buffer, piece, count = 100_000, b"x" * 50_000, 20

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def main() -> None:
        settings = replace(QUICK, write_buffer=buffer)
        async with serving(endless, settings) as running:
            with bounded(count * (buffer + len(piece) + EACH)):
                crowd = await arrive(running, HELLO, count)
                await running.until(lambda: running.server.statistics().accepted == count)
                await running.until(lambda: running.server.statistics().connections == 0)
            for sock in crowd:
                sock.close()
            # All were sent the head; nobody took the rest.
            assert running.server.statistics().requests_total == count
            assert running.server.statistics().responses_4xx == count  # 499: client gone

    run(main())
