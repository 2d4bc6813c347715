"""The limits on time: one tick per server compares every connection's deadline with the clock.

That is O(n), some 0.05 ms for a thousand connections, and no timer per request.
Sizes are limited where they are read (`request.reader`), counts where they grow
(`accepting`, `connection`). What happens at a deadline is
`Connection.act_on_deadline`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from hybrid.config import HttpConfig

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


class Timed(Protocol):
    """A connection, as `Watch` sees it."""

    deadline: float  # by the loop's clock

    def act_on_deadline(self) -> None:
        """End, or set a new deadline: the present one has passed."""
        ...


class Watch:
    """The tick: acts on deadlines that have passed. It rests while there is no connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: HttpConfig,
        connections: Iterable[Timed],
        goes_on: Callable[[], bool],
    ) -> None:
        """Act on the deadlines of `connections`; `goes_on`, called at each tick, may end it."""
        self._loop, self._connections, self._goes_on = loop, connections, goes_on
        self._every = tick_length(settings)
        self._timer: asyncio.TimerHandle | None = None
        self.now = loop.time()  # when the next tick is: deadlines count from there

    def start(self) -> None:
        """Begin to tick; does nothing while it ticks already.

        Call it before the deadline of a first connection is set: while nothing ticks,
        `now` stands still.
        """
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
        now = self._loop.time()
        self.now = now + self._every
        self._timer = self._loop.call_later(self._every, self._tick)
        return now

    def _tick(self) -> None:
        now = self._set_timer()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.act_on_deadline()
        if not self._goes_on():
            self.stop()
