"""How a job learns that nobody waits for its answer any more.

The connection protocol triggers a `Departure` on a reset or a failed write;
`submit` registers the job with it. So the pool knows nothing of HTTP, and the
protocol nothing of jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar


class Departure:
    """Tells, once, that the client of a request is gone. Event-loop thread only."""

    __slots__ = ("_callbacks", "happened")

    def __init__(self) -> None:
        self.happened = False
        self._callbacks: dict[int, Callable[[], None]] = {}

    def on(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at the departure, at once if it has happened.

        Returns:
            A function that takes the callback back; calling it late is fine.
        """
        if self.happened:
            callback()
            return _nothing
        key = id(callback)
        self._callbacks[key] = callback
        return lambda: self._callbacks.pop(key, None) and None

    def trigger(self) -> None:
        """The client is gone. A second call changes nothing."""
        self.happened = True
        callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks.values():
            callback()


def _nothing() -> None:
    """Take back a callback that was called already."""


current_departure: ContextVar[Departure | None] = ContextVar("hybrid_departure", default=None)
