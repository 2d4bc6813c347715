"""What a request and its jobs know of each other, and no more.

The connection protocol makes a `Departure` for every request, lets the
application run with it as `current_departure`, and triggers it when the
client has left. `submit` finds it there, registers the job with it and leaves the
job's times in it. So the pool knows nothing of HTTP, and the protocol nothing
of jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Where the time of one job went, in seconds; for Server-Timing and logs."""

    kernel: str
    queue_s: float
    run_s: float
    lane: str
    slot: int


class Departure:
    """Tells, once, that the client of a request is gone. Event-loop thread only.

    `times` are those of the request's jobs so far. Most requests have no job:
    what they do not write is a default of the class and costs nothing.
    """

    happened = False
    times: list[JobTimes] | None = None
    _callbacks: dict[int, Callable[[], None]] | None = None

    def on(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at the departure, at once if it has happened.

        Returns:
            A function that takes the callback back; calling it late is fine.
        """
        if self.happened:
            callback()
            return _nothing
        callbacks = self._callbacks
        if callbacks is None:
            callbacks = self._callbacks = {}
        key = id(callback)
        callbacks[key] = callback
        return lambda: callbacks.pop(key, None) and None

    def trigger(self) -> None:
        """The client is gone. A second call changes nothing."""
        self.happened = True
        callbacks, self._callbacks = self._callbacks, None
        if callbacks:
            for callback in list(callbacks.values()):
                callback()

    def book(self) -> list[JobTimes]:
        """Return `times`, to be added to."""
        if self.times is None:
            self.times = []
        return self.times


def _nothing() -> None:
    """Take back a callback that was called already."""


current_departure: ContextVar[Departure | None] = ContextVar("hybrid_departure", default=None)
