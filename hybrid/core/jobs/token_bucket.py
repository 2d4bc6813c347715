"""How often a pool may ask for a new process.

A client that sends tiny deadlines gets one pool process killed per request;
without a bound the primary would do nothing but fork. The bucket of permissions
refills slowly: enough for a start and for accidents, not for a stream of kills.
"""

from __future__ import annotations


class ReplacementRate:
    """A token bucket: `burst` at once, then `per_second`.

    Times are monotonic seconds and passed in.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst, self._per_second = float(burst), per_second
        self._tokens = float(burst)
        self._at = 0.0  # when _tokens was true

    def take(self, now: float) -> float:
        """Take a permission; return 0.0, or the seconds until there is one (none taken)."""
        if self._at:
            refilled = self._tokens + (now - self._at) * self._per_second
            self._tokens = min(self._burst, refilled)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._per_second
