"""Principal components of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e150  # of the table's numbers: the sum of their squares is a float64
MOST = 2000  # of rows or columns, whichever are fewer: some seconds on one core


@dataclass(frozen=True, slots=True)
class Principal:
    """The first k principal components of n observations of m variables."""

    scores: NDArray[np.float64]  # shape (n, k): the observations on the new axes
    components: NDArray[np.float64]  # shape (k, m): the new axes, unit vectors
    variance: NDArray[np.float64]  # shape (k,): along each axis, descending
    total_variance: float  # of all m variables together
    mean: NDArray[np.float64]  # shape (m,)


def pca(data: NDArray[Any], k: int = 3) -> Principal:
    """Find the k directions along which the observations vary most.

    Args:
        data: shape (n, m): n ≥ 2 observations (rows) of m variables (columns), real
            numbers, none beyond ±LARGEST. Not changed.
        k: components wanted, 1 ≤ k ≤ min(n, m).

    Returns:
        The components. A component's sign is free in the mathematics; here its entry of
        greatest magnitude is positive, so that every lane says the same.

    Raises:
        ValueError: `data` is not such a table, holds NaN or larger numbers, k does not fit it, or
            both n and m are above MOST: no thread can be stopped half-way through.

    Cost: with s = min(n, m) and l = max(n, m): O(l s²) time; 8 n m bytes for the centred copy
    and at most 24 l s (n < m) or 24 s² bytes of work space at peak.

    GIL: released in the product and the eigenvectors. Longest hold by one call, of its time: 67 %
    at 50 × 5 (0.1 ms), 1 % at 344 × 403; two threads do 1.95 × the work of one.

    Source: H. Hotelling, "Analysis of a complex of statistical variables into principal
    components", J. Educational Psychology 24, 1933, pp. 417-441 and 498-520.
    """
    if data.ndim != 2 or data.shape[0] < 2 or data.dtype.kind not in "iuf":
        raise ValueError(
            "principal components need at least two rows (observations) of real numbers; "
            f"got shape {data.shape} of {data.dtype}"
        )
    if min(data.shape) > MOST:
        raise ValueError(f"rows or columns must be at most {MOST}, got shape {data.shape}")
    if not 1 <= k <= min(data.shape):
        raise ValueError(f"k must be from 1 to min{data.shape} = {min(data.shape)}, got {k}")
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused right below
        table = data.astype(np.float64)
    if not -LARGEST <= table.min() <= table.max() <= LARGEST:  # NaN is within nothing
        raise ValueError(f"the table holds NaN, infinity or a number above {LARGEST:g}")

    mean = table.mean(axis=0)
    table -= mean
    total = float(np.square(table).sum()) / (len(table) - 1)
    variance, components = _axes(table)
    components = components[:k]
    leading = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(k), leading])[:, np.newaxis]
    return Principal(
        scores=table @ components.T,
        components=components,
        variance=np.maximum(variance[:k], 0.0),
        total_variance=total,
        mean=mean,
    )


def _axes(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variances, descending, and the axes (rows) of a centred table."""
    n, m = table.shape
    if m > n:  # the covariances of many variables would be far larger than the table
        _, lengths, axes = np.linalg.svd(table, full_matrices=False)
        return np.square(lengths) / (n - 1), axes
    values, vectors = np.linalg.eigh(table.T @ table / (n - 1))  # ascending
    return values[::-1], vectors.T[::-1]


def reference_pca(data: NDArray[Any], k: int = 3) -> Principal:
    """Multiply a vector with the covariances until it turns no more; take it out; repeat.

    Power iteration with deflation: Hotelling's own way of computing by hand.
    """
    n, m = data.shape
    mean = [sum(float(x) for x in data[:, j]) / n for j in range(m)]
    table = [[float(data[i, j]) - mean[j] for j in range(m)] for i in range(n)]
    cov = [[sum(row[a] * row[b] for row in table) / (n - 1) for b in range(m)] for a in range(m)]
    total = sum(cov[j][j] for j in range(m))

    components, variance = [], []
    for _ in range(k):
        vector, value = _leading_eigenvector(cov)
        components.append(vector)
        variance.append(value)
        cov = [[cov[a][b] - value * vector[a] * vector[b] for b in range(m)] for a in range(m)]
    scores = [
        [sum(x * c for x, c in zip(row, v, strict=True)) for v in components] for row in table
    ]
    return Principal(
        np.array(scores), np.array(components), np.array(variance), total, np.array(mean)
    )


def _leading_eigenvector(matrix: list[list[float]]) -> tuple[list[float], float]:
    """Return the unit eigenvector of the greatest eigenvalue, and that eigenvalue."""
    m = len(matrix)
    vector = [1.0 / (1 + j) for j in range(m)]
    length = 0.0
    for _ in range(5000):
        vector = [sum(matrix[a][b] * vector[b] for b in range(m)) for a in range(m)]
        length = sum(x * x for x in vector) ** 0.5
        if length == 0.0:
            break
        vector = [x / length for x in vector]
    leading = max(range(m), key=lambda j: abs(vector[j]))
    sign = 1.0 if vector[leading] >= 0 else -1.0
    return [sign * x for x in vector], length
