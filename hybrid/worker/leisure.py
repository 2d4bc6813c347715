"""What a worker does when nobody asks it for anything: it gives memory back."""

from __future__ import annotations

from collections.abc import Callable

from hybrid.system.heap import give_back

_QUIET = 5.0  # s without a request after which the burst is over


class Leisure:
    """Gives the freed memory of a burst back, once, when the burst is over."""

    __slots__ = ("_give_back", "_is_due", "_quiet_since", "_seen")

    def __init__(self, act: Callable[[], object] = give_back) -> None:
        self._give_back = act
        self._seen = 0
        self._quiet_since = 0.0
        self._is_due = False

    def look(self, requests: int, now: float) -> None:
        """Look at the number of requests so far; `now` by any clock in seconds."""
        if requests != self._seen:
            self._seen, self._quiet_since, self._is_due = requests, now, True
        elif self._is_due and now - self._quiet_since >= _QUIET:
            self._is_due = False
            self._give_back()
