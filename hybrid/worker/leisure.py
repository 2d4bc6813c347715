"""What a worker does when little is asked of it: it gives memory back."""

from __future__ import annotations

from collections.abc import Callable

from hybrid.system.heap import give_back

_PERIOD = 5.0  # s
_FEW = 50  # requests in a period: probes and a watcher are no burst


class Leisure:
    """Gives the freed memory of a burst back when the burst is over."""

    __slots__ = ("_began", "_give_back", "_is_due", "_seen")

    def __init__(self, act: Callable[[], object] = give_back) -> None:
        self._give_back = act
        self._began = 0.0
        self._seen = 0
        self._is_due = False

    def look(self, requests: int, now: float) -> None:
        """Look at the number of requests so far; `now` by any clock in seconds."""
        if now - self._began < _PERIOD:
            return
        came = requests - self._seen
        self._began, self._seen = now, requests
        self._is_due = self._is_due or came > 0
        if self._is_due and came <= _FEW:
            self._is_due = False
            self._give_back()
