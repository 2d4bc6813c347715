"""More than a server takes, and how much memory it may use for that."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from tests.http.conftest import Client

FLOOD = 8_000_000  # bytes sent by a client that does not know when to stop


@contextmanager
def bounded(limit: int) -> Iterator[None]:
    """Fail if Python's memory grows by more than `limit` bytes inside the block."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit, f"{peak - before} bytes at the peak"


async def flood(client: Client, piece: bytes) -> None:
    """Send the piece again and again until the server has had enough."""
    try:
        for _ in range(FLOOD // len(piece)):
            client.send(piece)
            await client.writer.drain()
    except ConnectionError:
        pass
