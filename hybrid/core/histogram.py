"""A histogram of durations with fixed, logarithmic buckets.

Fixed, so that the counts of several workers can be added up, and those of a
dead one kept; logarithmic, so that the error is the same fraction everywhere:
a quantile is at most a quarter of an octave (19 %) above the true one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import MutableSequence, Sequence

_FIRST = 20e-6  # s; no request is answered in less
_PER_OCTAVE = 4
BOUNDS = tuple(_FIRST * 2 ** (k / _PER_OCTAVE) for k in range(88))  # s; 20 µs to 70 s
BUCKETS = len(BOUNDS) + 1  # bucket k holds durations in (BOUNDS[k-1], BOUNDS[k]]


class Histogram:
    """Counts per bucket; one addition costs some 0.1 µs."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: MutableSequence[int] | memoryview[int] | None = None) -> None:
        """Count into `counts`, which has BUCKETS places; into a list of its own by default."""
        self.counts = [0] * BUCKETS if counts is None else counts
        self.total = 0.0  # s; the sum of what was counted

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.total += seconds
        self.counts[bisect_left(BOUNDS, seconds)] += 1


def quantile(counts: Sequence[int], q: float) -> float | None:
    """Return the upper bound, in seconds, of the bucket in which quantile `q` lies.

    Args:
        counts: one per bucket; may be the sum or difference of several histograms.
        q: 0.5 for the median, 0.99 for the 99th percentile.

    Returns:
        None if nothing was counted; infinity above the last bound.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = q * total
    seen = 0
    for count, bound in zip(counts, (*BOUNDS, float("inf")), strict=True):
        seen += count
        if count and seen >= wanted:
            return bound
    return float("inf")


def since(now: Sequence[int], before: Sequence[int]) -> list[int]:
    """Return what was counted between two readings of one histogram."""
    return [later - earlier for later, earlier in zip(now, before, strict=True)]
