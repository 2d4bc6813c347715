"""Answers that leave together, at the end of the loop's turn.

Under load one turn of the loop answers many requests. Written one by one,
between the handlers, every answer wakes whoever reads it: on the same machine
(a proxy, a sidecar) a whole process, which has dealt with it and sleeps again
before the next one comes. Written in a row they wake it once.

Rule 1: who is alone does not wait. Only while turns have more than one answer
        are they held; every 32nd is held for its turn to see whether that is so.
Rule 2: nothing is held longer than `PATIENCE` and the handler that runs then.
Rule 3: a connection holds at most one answer. Whatever else it writes, or its
        end, comes behind it: see `Flow.release`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Protocol

PATIENCE = 0.0005  # s
_LOOK_EVERY = 32  # answers


class HoldsAnswer(Protocol):
    """A connection as the coalescer sees it; see `Flow`."""

    held: bytes  # a complete answer that waits for the end of the loop's turn

    def write(self, data: bytes) -> None: ...  # noqa: D102

    def release(self) -> None: ...  # noqa: D102


class WriteCoalescer:
    """The held answers of one server.

    `due` is when they must go, by `time.perf_counter`: who is about to run a
    handler looks at it, and calls `flush`.
    """

    __slots__ = ("_clock", "_gathers", "_held", "_loop", "_unlooked", "due")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._held: list[HoldsAnswer] = []
        self._gathers = False  # the latest turn had several answers
        self._unlooked = _LOOK_EVERY
        self.due = inf

    def send(self, flow: HoldsAnswer, data: bytes) -> None:
        """Send a complete answer on a connection that stays open: now, or with the others."""
        if not self._held:
            if not self._gathers and self._unlooked:
                self._unlooked -= 1
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
        """Send what is held."""
        held = self._held
        if held:
            self._held = []
            self.due = inf
            self._gathers = len(held) > 1
            self._unlooked = _LOOK_EVERY
            for flow in held:
                flow.release()
