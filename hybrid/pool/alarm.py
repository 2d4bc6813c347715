"""One timer for all deadlines of a pool."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic

from hybrid.core.jobs.deadlines import Deadlines
from hybrid.pool.call import Call


class Alarm:
    """Calls `late(call)` when the deadline of a call that is still open has passed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[Call], None]) -> None:
        self._loop, self._late = loop, late
        self._deadlines: Deadlines[Call] = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf  # monotonic s for which the timer is set

    def watch(self, call: Call, alive: int) -> None:
        """Watch a new call; `alive`: calls of the pool that have not ended."""
        self._deadlines.add(call)
        if call.deadline_at < self._at:
            self._set(call.deadline_at)
        self._deadlines.forget_ended(alive)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at, self._timer = at, None
        if at < math.inf:
            self._timer = self._loop.call_later(max(0.0, at - monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        for call in self._deadlines.due(monotonic()):
            self._late(call)
        self._set(self._deadlines.next_at())

    def close(self) -> None:
        """Stop watching."""
        self._set(math.inf)
