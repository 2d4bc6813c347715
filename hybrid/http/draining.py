"""Ending connections: each gives the answers that it owes and closes; at the limit it is cut."""

from __future__ import annotations

import asyncio
import logging

from hybrid.http.accepting import Acceptor
from hybrid.http.shared import Shared

logger = logging.getLogger("hybrid.error")

_CLEANUP = 1.0  # s that cancelled applications have to clean up


def announce(shared: Shared) -> None:
    """Make every answer from now on say ``Connection: close``; idle connections close soon."""
    if shared.draining:
        return
    shared.draining = True
    for connection in list(shared.connections):
        connection.drain()


async def drain(shared: Shared, acceptor: Acceptor, grace: float) -> int:
    """Wait until connections and applications are done, at most `grace` seconds; cut the rest.

    Returns:
        How many connections were cut, idle ones not counted.
    """
    announce(shared)
    loop = shared.loop
    deadline = loop.time() + grace
    while (shared.connections or shared.running or acceptor.pending) and loop.time() < deadline:
        await shared.wait_for_an_end(deadline - loop.time())
    cut = _cut(shared)
    acceptor.cancel_pending()
    await _cancel_applications(shared)
    return cut


def _cut(shared: Shared) -> int:
    """Abort every connection; return how many of them still owed an answer."""
    cut = 0
    for connection in list(shared.connections):
        if not connection.is_idle:
            cut += 1
            logger.warning("grace period over: cut %s", connection.describe())
        connection.abort()
    return cut


async def _cancel_applications(shared: Shared) -> None:
    """Cancel the applications that still run, and wait `_CLEANUP` seconds for their ends."""
    # The loop calls connection_lost of the aborted connections first. So an application learns
    # that its client has left before it is cancelled.
    await asyncio.sleep(0)
    deadline = shared.loop.time() + _CLEANUP
    for exchange in list(shared.running):
        if exchange.task is not None:
            exchange.task.cancel()
    while (shared.running or shared.connections) and shared.loop.time() < deadline:
        await shared.wait_for_an_end(deadline - shared.loop.time())
