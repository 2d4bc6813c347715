"""Answers that leave together, at the end of the loop's turn.

Under load one turn of the loop answers many requests. If each answer is
written at once, between two handlers, it wakes its reader. On the same machine
(a proxy, a sidecar) that is a process, which reads the answer and sleeps again
before the next one comes: a switch of processes per answer. Answers written in
a row wake it once.

Rule 1: a lone answer is written at once. Answers are held only while recent
        turns produced several; every 32nd answer is held as a probe.
Rule 2: nothing is held longer than `PATIENCE` and the handler that runs then.
        Otherwise one slow handler would delay the answers of all before it.
Rule 3: a connection holds at most one answer, and writes it before anything
        else and before its end: see `Flow.release`. Otherwise answers would
        change their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Protocol

PATIENCE = 0.0005  # s
_PROBE_EVERY = 32  # answers


class HoldsAnswer(Protocol):
    """A connection as the coalescer sees it; see `Flow`."""

    held: bytes  # a complete answer that waits for the end of the loop's turn

    def write(self, data: bytes) -> None: ...  # noqa: D102

    def release(self) -> None: ...  # noqa: D102


class WriteCoalescer:
    """The held answers of one server.

    `due` is when they must be written, by `time.perf_counter`. A connection
    compares it before it runs a handler, and calls `flush` when it has passed.
    """

    __slots__ = ("_clock", "_gathers", "_held", "_loop", "_until_probe", "due")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._held: list[HoldsAnswer] = []
        self._gathers = False  # the latest turn had several answers
        self._until_probe = _PROBE_EVERY
        self.due = inf

    def send(self, flow: HoldsAnswer, data: bytes) -> None:
        """Send a complete answer on a connection that stays open: now, or with the others."""
        if not self._held:
            if not self._gathers and self._until_probe:
                self._until_probe -= 1
                flow.write(data)
                return
            self.due = self._clock() + PATIENCE
            self._loop.call_soon(self.flush)
        elif flow.held:
            flow.write(data)
            return
        elif self._clock() > self.due:
            self.flush()
            flow.write(data)
            return
        flow.held = data
        self._held.append(flow)

    def flush(self) -> None:
        """Send the held answers."""
        held = self._held
        if held:
            self._held = []
            self.due = inf
            self._gathers = len(held) > 1
            self._until_probe = _PROBE_EVERY
            for flow in held:
                flow.release()
