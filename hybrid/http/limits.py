"""The limits on time: one tick per server compares every connection's deadline with the clock.

That is O(n), some 0.05 ms for a thousand connections, and no timer per request.
Sizes are limited where they are read (`request.reader`), counts where they grow
(`accepting`, `connection`). What happens at a deadline is
`Connection.act_on_deadline`.
"""

from __future__ import annotations

import asyncio

from hybrid.config import HttpConfig
from hybrid.http.shared import Shared

_LONGEST = 1.0  # s between two ticks
_SHORTEST = 0.01


def tick_length(settings: HttpConfig) -> float:
    """Return the time between two ticks in seconds: an eighth of the shortest time limit.

    So a deadline is acted on up to two eighths late, and never early.
    """
    shortest = min(
        settings.header_timeout, settings.body_timeout, settings.keep_alive, settings.linger
    )
    return max(_SHORTEST, min(_LONGEST, shortest / 8))


class Watch:
    """The tick: acts on deadlines that have passed, and writes out the access log."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._every = tick_length(shared.settings)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick; does nothing while it ticks already."""
        if self._timer is None:
            self._set_timer()

    def stop(self) -> None:
        """Tick no more, until `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> float:
        """Set the timer; return the time.

        Deadlines count from the *end* of the tick in which they are set: one
        reading of the clock per tick instead of two per request.
        """
        shared = self._shared
        now = shared.loop.time()
        shared.now = now + self._every
        self._timer = shared.loop.call_later(self._every, self._tick)
        return now

    def _tick(self) -> None:
        shared = self._shared
        now = self._set_timer()
        for connection in [c for c in shared.connections if c.deadline <= now]:
            connection.act_on_deadline()
        if shared.log is not None:
            shared.log.flush()
