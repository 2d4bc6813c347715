"""When a difference is a difference: quantiles, ratios and their intervals.

Rule 1: a quantile is printed only where enough samples lie beyond it.
Rule 2: requests of one run are autocorrelated, so they are never the "n" of an
        interval; blocks are. A block holds every topology once, in random order.
Rule 3: what does not exceed the difference of a thing with itself (the A/A row)
        is called a tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BEYOND = 10  # samples that must lie beyond a quantile before it is worth printing

# Two-sided 95 % points of Student's t for 1 ... 30 degrees of freedom (any table of it).
# For n <= 10 log ratios a t-interval covers better than a bootstrap.
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def samples_needed(q: float) -> int:
    """Return how many samples the quantile `q` needs (0.99: 1,000)."""
    return math.ceil(BEYOND / (1.0 - q) - 1e-9)


def quantile(values: Floats, q: float) -> float | None:
    """Return the exact order statistic at `q`, or None where samples do not suffice.

    Infinite values are allowed: a request that was never answered has an
    infinite latency, so failures cannot improve a percentile.
    """
    if len(values) < samples_needed(q):
        return None
    return float(np.quantile(values, q, method="inverted_cdf"))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times larger the first of two quantities is, over paired blocks."""

    estimate: float  # geometric mean
    low: float  # 95 % interval
    high: float
    wins: int  # pairs in which the first was larger
    pairs: int

    def __str__(self) -> str:
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}], {self.wins}/{self.pairs}"

    @property
    def separated(self) -> bool:
        """Whether the interval excludes 1, that is: whether they differ at all."""
        return self.low > 1.0 or self.high < 1.0

    def exceeds(self, detectable: float) -> bool:
        """Whether they differ by more than the factor `detectable` (>= 1) of an A/A row."""
        return self.separated and max(self.estimate, 1.0 / self.estimate) > detectable


def ratio(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """Compare two quantities measured in the same blocks.

    Args:
        first: one positive value per block.
        second: the same blocks in the same order.

    Raises:
        ValueError: the lengths differ, there is no pair, or a value is not positive.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"need the same blocks on both sides, got {a.size} and {b.size}")
    if not (np.all(a > 0) and np.all(b > 0) and np.all(np.isfinite(a) & np.isfinite(b))):
        raise ValueError("a ratio needs positive finite values in every block")
    logs = np.log(a / b)
    mean, pairs = float(logs.mean()), len(logs)
    # One pair says nothing about spread: its interval is everything.
    half = math.inf
    if pairs > 1:
        half = t_95(pairs - 1) * float(logs.std(ddof=1)) / math.sqrt(pairs)
    return Ratio(math.exp(mean), _exp(mean - half), _exp(mean + half), int(np.sum(logs > 0)), pairs)


def t_95(degrees: int) -> float:
    """Return the two-sided 95 % point of Student's t."""
    return T_95[degrees - 1] if degrees <= len(T_95) else 1.96 + 2.4 / degrees


def detectable(first: Sequence[float], again: Sequence[float]) -> float:
    """Return the smallest factor worth believing, from an A/A row.

    The same topology measured twice per block differs by chance alone; the
    further end of that interval bounds what chance can do.
    """
    chance = ratio(first, again)
    return max(chance.high, 1.0 / chance.low if chance.low > 0 else math.inf)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of block values and its 95 % interval."""
    found = ratio(values, [1.0] * len(values))
    return found.estimate, found.low, found.high


def jain(shares: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 for equal shares, 1/n when one has all.

    Source: Jain, Chiu, Hawe, "A quantitative measure of fairness", DEC-TR-301, 1984.
    """
    x = np.asarray(shares, dtype=np.float64)
    if x.size == 0 or not np.any(x):
        return math.nan
    return float(x.sum() ** 2 / (x.size * np.sum(x**2)))


def _exp(x: float) -> float:
    return math.exp(x) if x < 700.0 else math.inf
