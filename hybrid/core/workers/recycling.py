"""When a worker has reached a limit and asks to be replaced.

The worker only asks. The supervisor replaces one at a time (``--max-surge``),
each new one ready first, so limits that all workers reach together cost
neither capacity nor requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_SPREAD = 0.1  # of the lifetime, at random: workers that start together must not end together


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker may reach; 0 means no limit."""

    requests: int = 0
    age: float = 0.0  # s
    rss: int = 0  # bytes

    @classmethod
    def draw(
        cls, requests: int, jitter: int, lifetime: float, rss: int, dice: Callable[[], float]
    ) -> Limits:
        """Return the limits of one worker.

        Args:
            requests: the operator's limit.
            jitter: at most this many requests are added to it.
            lifetime: seconds; at most a tenth is taken away.
            rss: bytes.
            dice: gives numbers in [0, 1).
        """
        return cls(
            requests=requests + int(dice() * (jitter + 1)) if requests else 0,
            age=lifetime * (1.0 - _SPREAD * dice()),
            rss=rss,
        )

    @property
    def any(self) -> bool:
        """Whether any limit is set."""
        return bool(self.requests or self.age or self.rss)

    def reached(self, requests: int, age: float, rss: int | None) -> str | None:
        """Return which limit has been reached, in words for the log; None: none has."""
        if self.requests and requests >= self.requests:
            return f"{requests} requests, the limit is {self.requests}"
        if self.age and age >= self.age:
            return f"{age:.0f} s old, the limit is {self.age:.0f} s"
        if self.rss and rss is not None and rss > self.rss:
            return f"{rss / 2**20:.0f} MiB resident, the limit is {self.rss / 2**20:.0f} MiB"
        return None
