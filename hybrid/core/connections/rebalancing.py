"""When a worker holds more keep-alive connections than its share, and gives some up.

A scheduling policy chooses once per connection; keep-alive makes that choice
last. After a reload, a worker more or a burst, one may hold most of them. It
lets their next answers say ``Connection: close``: the clients connect anew,
and the policy chooses again, knowing better.

Rule 1: only what chance does not explain is moved. Connections that choose at
        random leave a worker `mean ± sqrt(mean)`; two of those are tolerated.
Rule 2: where it does not help (all of them come back) it is tried less and
        less often. Reconnecting costs, imbalance may not.

No clock: times are monotonic seconds and passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

EVERY = 1.0  # s between two looks: the figures are 0.1 s old, clients need a moment to come back
LONGEST = 60.0  # s between two looks, where the last ones did not help
_HELPED = 0.75  # of the last excess; less is left, if giving up connections helps


class Balance:
    """One worker's eye on its share."""

    def __init__(self) -> None:
        self._pause = EVERY
        self._next = 0.0
        self._last = 0  # the excess at the last look

    def is_due(self, now: float) -> bool:
        """Return whether it is time to look."""
        return now >= self._next

    def look(self, mine: int, everybody: Sequence[int], now: float) -> int:
        """Return how many connections to give up.

        Args:
            mine: connections of this worker.
            everybody: connections of every worker that serves, this one included.
            now: monotonic seconds.
        """
        excess = above_the_mean(mine, everybody)
        in_vain = self._last and excess > _HELPED * self._last
        self._pause = min(LONGEST, self._pause * 2) if in_vain else EVERY
        self._next, self._last = now + self._pause, excess
        return excess


def above_the_mean(mine: int, everybody: Sequence[int]) -> int:
    """Return how many connections more than the mean, 0 if that may be chance."""
    if len(everybody) < 2:
        return 0
    mean = sum(everybody) / len(everybody)
    return mine - math.ceil(mean) if mine > mean + 2.0 * math.sqrt(mean) else 0
