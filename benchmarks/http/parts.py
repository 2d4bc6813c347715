"""Where a request's microseconds go: each part of hybrid's own work, by itself.

``python -m benchmarks.http.parts`` serves ``GET /hello`` in one process, to a
transport that throws everything away: no socket, no kernel. CPU time; the
smallest of many short batches, because a disturbance only ever adds. A part is
timed alone with everything it needs at hand, so the parts add up to somewhat
less than the whole.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.http import app as application
from benchmarks.http import bare
from hybrid.config import HttpConfig, LogConfig
from hybrid.http.access_log import AccessLog
from hybrid.http.connection.connection import Connection
from hybrid.http.exchange.exchange import Exchange
from hybrid.http.loops import new_event_loop
from hybrid.http.server import HttpServer
from hybrid.http.shared import start_task

REQUEST = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
HEADERS = [(b"content-length", b"23"), (b"content-type", b"text/plain; charset=utf-8")]
BODY = b"Hello from worker 12345"
_BATCHES, _BATCH = 200, 300


class Nowhere:
    """A transport without a socket."""

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None: ...

    def is_closing(self) -> bool:
        return False


async def say_hello(scope: Any, receive: Any, send: Any) -> None:
    """What Falcon does to the connection, without Falcon."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def smallest(call: Callable[[], object]) -> float:
    """Return the CPU time of one call in microseconds."""
    best = float("inf")
    for _ in range(_BATCHES):
        began = time.process_time()
        for _ in range(_BATCH):
            call()
        best = min(best, time.process_time() - began)
    return round(best / _BATCH * 1e6, 2)


async def smallest_request(protocol: Any, transport: Nowhere) -> float:
    """Return the CPU time of one request in microseconds, its task included."""
    best = float("inf")
    for _ in range(_BATCHES):
        began = time.process_time()
        for _ in range(_BATCH):
            before = transport.writes
            protocol.data_received(REQUEST)
            while transport.writes == before:  # noqa: ASYNC110 - before 3.12 a task waits for the loop
                await asyncio.sleep(0)
        best = min(best, time.process_time() - began)
    return round(best / _BATCH * 1e6, 2)


async def measure() -> dict[str, float]:
    """Return every part."""
    transport = Nowhere()
    server = HttpServer(
        say_hello,
        HttpConfig(),
        state={},
        headers=[(b"x-worker", b"1")],
        log=LogConfig(access=False),
    )
    shared = server._shared
    connection = Connection(shared, on_closed=lambda: None)
    connection.connection_made(transport)
    simple = bare.Bare()
    simple.connection_made(transport)
    found: dict[str, float] = {}
    for name, served in (("without Falcon", say_hello), ("with Falcon", application.app)):
        bare.app = served
        found[f"bare protocol {name}"] = await smallest_request(simple, transport)
        shared.app = served
        found[f"hybrid {name}"] = await smallest_request(connection, transport)
    found.update(parts(connection))
    if sys.version_info >= (3, 12):  # else the task would wait for the loop
        found["a task that starts at once"] = smallest(lambda: start_task(shared, nothing()))
    return found


def parts(connection: Connection) -> dict[str, float]:
    """Return what the steps of one request cost."""
    shared, reader = connection.shared, connection.reader

    def read() -> Any:
        reader.parse(REQUEST)
        return reader.ready.pop()

    request = read()
    log = AccessLog("text", "1", lambda block: None)
    exchange = Exchange(connection, request)
    return {
        "reading a request": smallest(read),
        "its exchange, id and scope": smallest(lambda: Exchange(connection, request)),
        "rendering the answer": smallest(
            lambda: shared.heads.whole(200, HEADERS, "0123456789ab-1f", BODY)
        ),
        "counting it": smallest(lambda: shared.counts.count(200, 0.0003)),
        "its line in the access log (not in the sums above)": smallest(
            lambda: log.write(exchange, connection.client, 0.0003)
        ),
    }


async def nothing() -> None:
    """A coroutine that ends at once."""


if __name__ == "__main__":
    print(json.dumps(new_event_loop().run_until_complete(measure())))
