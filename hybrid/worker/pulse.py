"""The worker's heartbeat: loop lag, and its figures on the scoreboard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hybrid.core.histogram import Histogram
from hybrid.system.scoreboard import Row

PERIOD = 0.1  # s between ticks; a reader of the scoreboard sees figures at most so old


class Pulse:
    """Ticks on the event loop at fixed times.

    The lag of a tick is how late it came. It is measured against the time the
    tick was *meant* for: measured from the previous tick, a blocked second
    would count once, though every request in that second was late.

    Nobody is killed for a late tick: a loop that computes is not dead.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, row: Row, publish: Callable[[], None]):
        self._loop = loop
        self._row = row
        self._publish = publish
        self._lags = Histogram(row.counts("lag"))
        self.due = 0.0  # monotonic s at which the next tick is meant
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick."""
        self.due = time.monotonic()
        self._tick()

    def stop(self) -> None:
        """Tick no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        # Not loop.time(): uvloop's is that of the turn's beginning, in whole milliseconds.
        now = time.monotonic()
        lag = max(0.0, now - self.due)
        row = self._row
        row.set("tick_at", now)
        row.set("lag_last", lag)
        row.add("lag_total", lag)
        self._lags.add(lag)
        row.add("loop_ticks")
        if lag > row.get("lag_max"):
            row.set("lag_max", lag)
        self._publish()
        now = time.monotonic()
        self.due = max(self.due + PERIOD, now)  # after a long block: do not tick in a burst
        self._handle = self._loop.call_later(self.due - now, self._tick)
