"""Clients that come, stall, half-close, reset: afterwards nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from dataclasses import replace
from typing import Any

import psutil
import pytest

from hybrid.config import HttpConfig
from tests.http.conftest import HELLO, Routes, Running, echo, serving
from tests.http.test_websocket import HANDSHAKE, Echo, frame

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


async def rounds(running: Running, count: int, seed: int) -> None:
    luck = random.Random(seed)
    for _ in range(count):
        await asyncio.gather(*(visit(running, luck) for _ in range(50)))
    await running.until(lambda: running.server.statistics().connections == 0)
    await running.until(lambda: not running.server._shared.running)


def soak(run: Any, count: int, growth: int) -> None:
    async def main() -> None:
        process = psutil.Process()
        routes = Routes(echo=echo, ws=Echo())
        async with serving(routes, SETTINGS) as running:
            await rounds(running, 20, seed=1)  # what grows once has grown after this
            routes.scopes.clear()
            gc.collect()
            tasks = len(asyncio.all_tasks())
            descriptors, memory = len(os.listdir("/proc/self/fd")), process.memory_info().rss
            for part in range(count):
                await rounds(running, 20, seed=2 + part)
                routes.scopes.clear()
            gc.collect()
            assert len(asyncio.all_tasks()) <= tasks
            assert len(os.listdir("/proc/self/fd")) <= descriptors
            assert process.memory_info().rss - memory < growth

    run(main())


def test_a_few_thousand_rude_clients_leave_nothing(run: Any, caplog: Any) -> None:
    soak(run, count=2, growth=8_000_000)
    faults = [r for r in caplog.records if r.exc_info]
    assert not [r for r in faults if r.exc_info and "IllegalTransition" in str(r.exc_info[1])]


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("HYBRID_SOAK"), reason="make soak")
def test_a_hundred_thousand_rude_clients_leave_nothing(run: Any) -> None:
    soak(run, count=25, growth=12_000_000)
