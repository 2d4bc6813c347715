"""When a worker holds more keep-alive connections than its share, and closes some.

A scheduling policy chooses once per connection; keep-alive makes that choice
last. After a reload, an added worker or a burst, one worker may hold most of
them. Its next answers on some of them say ``Connection: close``: the clients
connect anew, and the policy chooses again.

Rule 1: only an excess that chance does not explain is moved. Connections that
        choose at random leave a worker `mean ± sqrt(mean)`; twice that is tolerated.
Rule 2: where it does not help (all of them come back) it is tried less and
        less often. Reconnecting always costs; imbalance may cost nothing.

No clock: times are monotonic seconds and passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

EVERY = 1.0  # s between two checks: clients need a moment to come back
LONGEST = 60.0  # s between two checks, where the last ones did not help
_HELPED = 0.75  # of the last excess; less is left, if giving up connections helps


class Balance:
    """Compares one worker's connections with its share."""

    def __init__(self) -> None:
        self._pause = EVERY
        self._next = 0.0
        self._last = 0  # the excess at the last check

    def is_due(self, now: float) -> bool:
        """Return whether it is time to call `excess`."""
        return now >= self._next

    def excess(self, mine: int, all_workers: Sequence[int], now: float) -> int:
        """Return how many connections to give up.

        Args:
            mine: connections of this worker.
            all_workers: connections of every worker that serves, this one included.
            now: monotonic seconds.
        """
        excess = above_the_mean(mine, all_workers)
        in_vain = self._last and excess > _HELPED * self._last
        self._pause = min(LONGEST, self._pause * 2) if in_vain else EVERY
        self._next, self._last = now + self._pause, excess
        return excess


def above_the_mean(mine: int, all_workers: Sequence[int]) -> int:
    """Return by how many connections `mine` exceeds the mean, 0 if that may be chance."""
    if len(all_workers) < 2:
        return 0
    mean = sum(all_workers) / len(all_workers)
    return mine - math.ceil(mean) if mine > mean + 2.0 * math.sqrt(mean) else 0
