"""Numbers that come out the same in every process."""

from __future__ import annotations


def significant(value: float, digits: int = 9) -> float:
    """Round to a number of significant decimal digits.

    Why: a BLAS may add in another order with another number of threads or on
    another alignment of memory, so the last bits differ from lane to lane.
    Nine digits are stable, for a sum of a million float64 too.
    """
    return float(f"{value:.{digits - 1}e}")
