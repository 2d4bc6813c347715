"""Clients that come, stall, half-close, reset: afterwards nothing of them is left.

Some seconds in the suite, minutes with `make soak`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import psutil
import pytest

from hybrid.config import HttpConfig
from hybrid.system.process.heap import give_back
from tests.http.conftest import HELLO, Routes, Running, answer, serving
from tests.http.raw_websocket import HANDSHAKE, Echo, frame

CROWD = 1000  # clients
FULL = bool(os.environ.get("HYBRID_SOAK"))  # `make soak`: 25,000 clients instead of 3,000
SETTINGS = replace(HttpConfig(), header_timeout=0.3, body_timeout=0.3, keep_alive=0.3)
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
STREAMS = (
    HELLO,
    HELLO * 20,
    HELLO[:15],
    POST + b"Content-Length: 5\r\n\r\nabcde",
    POST + b"Content-Length: 500000\r\n\r\n" + b"x" * 70_000,
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HANDSHAKE.replace(b"/echo", b"/ws") + frame(1, b"hi") + frame(8, b""),
    HANDSHAKE.replace(b"/echo", b"/ws") + frame(1, b"hi"),
    b"\x16\x03\x01garbage",
    b"",
)


async def polite_echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo, and no complaint of a client that has left: pytest keeps what is logged."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await answer(send, body)


async def visit(running: Running, luck: random.Random) -> None:
    """One client with a random life."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    except OSError:
        return
    data = luck.choice(STREAMS)
    cut = luck.randrange(len(data) + 1) if luck.random() < 0.3 else len(data)
    try:
        writer.write(data[:cut])
        if luck.random() < 0.3:
            await asyncio.sleep(luck.random() * 0.02)
        writer.write(data[cut:])
        end = luck.random()
        if end < 0.4:
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
        elif end < 0.6:
            await asyncio.wait_for(reader.read(20), 5)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


async def crowd(running: Running, seed: int) -> None:
    """Let `CROWD` clients come, two hundred at a time."""
    luck = random.Random(seed)
    for _ in range(CROWD // 200):
        await asyncio.gather(*(visit(running, luck) for _ in range(200)))
    await running.until(lambda: running.server.statistics().connections == 0)
    await running.until_applications_end()


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """Exceptions in the log; pytest's own capture would keep every record, and so all memory."""
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                seen.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    handler = Handler()
    loggers = [logging.getLogger(name) for name in ("hybrid", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    yield seen
    for logger in loggers:
        logger.removeHandler(handler)
        logger.propagate = True


@pytest.mark.soak
def test_thousands_of_rude_clients_leave_nothing(run: Any, faults: list[str]) -> None:
    parts = 25 if FULL else 2  # crowds after the first

    async def main() -> None:
        process = psutil.Process()
        sockets = Echo()
        routes = Routes(echo=polite_echo, ws=sockets)

        def remains() -> tuple[int, int, int, int]:
            """Return how many tasks, descriptors, blocks of memory and bytes of RSS there are."""
            routes.scopes.clear()
            sockets.events.clear()
            gc.collect()
            give_back()  # free pages between used blocks are not a leak
            tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
            return tasks, descriptors, sys.getallocatedblocks(), process.memory_info().rss

        async with serving(routes, SETTINGS) as running:
            await crowd(running, seed=1)  # what grows once has grown after this
            seen = [remains()]
            for part in range(parts):
                await crowd(running, seed=2 + part)
                seen.append(remains())
            clients = running.server.statistics().accepted
        (tasks, descriptors, _, memory), last = seen[0], seen[-1]
        blocks = [after[2] - before[2] for before, after in pairwise(seen)]
        found = (
            f"{clients} clients: tasks {tasks} -> {last[0]}, "
            f"descriptors {descriptors} -> {last[1]}, blocks {blocks}; RSS +{last[3] - memory}"
        )
        assert clients >= 0.9 * CROWD * (1 + parts), found
        assert last[0] <= tasks, found
        assert last[1] <= descriptors, found
        # A leak of one block per client shows in every crowd; caches and free lists grow in some
        # (one crowd: -109 to 206 blocks). So the crowd that grew least decides.
        assert min(blocks) < CROWD * 0.3, found
        # Counting blocks misses leaks in C. This limit shows one of 6 KB per client in the short
        # run, and of 0.5 KB in the long one; without a leak the short run grows by 0.7 MB at most.
        assert last[3] - memory < 12_000_000, found

    run(main(), 60.0 * parts)
    assert not faults
