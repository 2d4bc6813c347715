"""The link between a request and its jobs: the client has left, and the jobs' times.

The connection protocol makes a `Departure` for every request, lets the
application run with it as `current_departure`, and triggers it when the
client has left. `submit` finds it there, registers the job with it and adds the
job's times to it. So the pool needs to know nothing of HTTP, and the protocol
nothing of jobs.
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
    """Calls back, once, when the client of a request has left. Event-loop thread only.

    `times` are those of the request's jobs so far. Most requests have no job: the
    defaults are the class's, so that such a request does not pay for them.
    """

    happened = False
    times: list[JobTimes] | None = None
    _callbacks: dict[int, Callable[[], None]] | None = None

    def on(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at the departure, at once if it has happened.

        Returns:
            A function that unregisters the callback; it may be called too late.
        """
        if self.happened:
            callback()
            return _nothing
        callbacks = self._callbacks
        if callbacks is None:
            callbacks = self._callbacks = {}
        key = id(callback)
        callbacks[key] = callback

        def unregister() -> None:
            callbacks.pop(key, None)

        return unregister

    def trigger(self) -> None:
        """Call the callbacks: the client has left. A second call changes nothing."""
        self.happened = True
        callbacks, self._callbacks = self._callbacks, None
        if callbacks:
            for callback in list(callbacks.values()):
                callback()

    def book(self) -> list[JobTimes]:
        """Return the list that job times are added to; it becomes `times`."""
        if self.times is None:
            self.times = []
        return self.times


def _nothing() -> None:
    """Unregister a callback that was called already."""


current_departure: ContextVar[Departure | None] = ContextVar("hybrid_departure", default=None)
