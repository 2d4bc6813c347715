"""The lessons' jobs. Every pool process imports this module: numpy, no matplotlib."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Kernel = Callable[[int], float]


def product(n: int) -> float:
    """Multiply two matrices of shape (n, n)."""
    matrix = np.full((n, n), 0.5)
    return float((matrix @ matrix)[0, 0])


def fft(n: int) -> float:
    """Transform `n` points."""
    return float(np.abs(np.fft.rfft(_numbers(n))[1]))


def sort(n: int) -> float:
    """Sort `n` numbers."""
    return float(np.sort(_numbers(n))[0])


def sums(n: int) -> float:
    """Add up `n` numbers again and again: two million in all, or a thousand calls."""
    numbers, total = _numbers(n), 0.0
    for _ in range(max(2_000_000 // n // 10, 1_000)):
        total += float(numbers.sum())
    return total


def objects(n: int) -> float:
    """Add up an array of `n` Python objects: numpy in name only."""
    return float(np.sum(np.arange(n).astype(object)))


def python(n: int) -> float:
    """Count to `n` and add up, in plain Python."""
    total = 0
    for k in range(n):
        total += k * k
    return float(total)


def spin(payload: NDArray[np.float64], n: int) -> float:
    """Compute in plain Python; the payload is only carried there."""
    return python(n) + float(payload[0])


def first(payload: NDArray[np.float64]) -> float:
    """Return one number of all that came."""
    return float(payload[0])


def negative(payload: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return as much as came."""
    return -payload


def _numbers(n: int) -> NDArray[np.float64]:
    # Cheap, and not sorted: the fractional parts of the golden ratio's multiples.
    return np.asarray(np.modf(np.arange(n) * 0.6180339887498949)[0])


KERNELS: dict[str, Kernel] = {
    each.__name__: each for each in (product, fft, sort, sums, objects, python)
}
