"""The times: who looks at the connections' deadlines, and how often.

The sizes are limited where they are read (`reader`), the counts where they
grow (`accepting`, `connection`), and what a passed deadline means is said by
`Connection.act_on_deadline`. One tick per server looks at every connection: O(n), some
0.05 ms for a thousand, and no timer per request.
"""

from __future__ import annotations

import asyncio

from hybrid.config import HttpConfig
from hybrid.http.shared import Shared

_LONGEST = 1.0  # s between two looks
_SHORTEST = 0.01


def tick_length(settings: HttpConfig) -> float:
    """Return how often to look, in seconds: an eighth of the shortest patience.

    So a deadline comes up to two eighths late, and never early.
    """
    shortest = min(
        settings.header_timeout, settings.body_timeout, settings.keep_alive, settings.linger
    )
    return max(_SHORTEST, min(_LONGEST, shortest / 8))


class Watch:
    """Looks at every connection's deadline, as long as there is one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._every = tick_length(shared.settings)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, or go on."""
        if self._timer is None:
            self._wind_up()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind_up(self) -> float:
        """Set the timer; return the time.

        Deadlines count from the *end* of the tick in which they are set: one
        reading of the clock per tick instead of two per request.
        """
        shared = self._shared
        now = shared.loop.time()
        shared.now = now + self._every
        self._timer = shared.loop.call_later(self._every, self._look)
        return now

    def _look(self) -> None:
        shared = self._shared
        now = self._wind_up()
        for connection in [c for c in shared.connections if c.deadline <= now]:
            connection.act_on_deadline()
        if shared.log is not None:
            shared.log.flush()
