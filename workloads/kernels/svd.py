"""Singular values of a matrix."""

from __future__ import annotations

import math

import numpy as np

from workloads.kernels.rounding import significant


def svd(n: int, seed: int) -> dict[str, float]:
    """Compute the singular values of a random square matrix.

    Args:
        n: rows and columns; shape (n, n), float64, standard normal.
        seed: of the random generator.

    Returns:
        ``largest``: the greatest singular value, about 2√n; ``sum``: of all n of them.

    Cost: O(n³) time, some three times that of the values alone; 24 n² bytes in numpy's arrays
    (the matrix and two of vectors); LAPACK's copy and work space come on top.

    GIL: released while LAPACK works: the longest hold is 4 % at n = 300. Only because the vectors
    are computed too: asked for the values alone, numpy 2.4 holds the GIL for the whole call up
    to n = 500 (100 % at n = 500, 1 % at n = 501: its threshold looks at the size of the outputs).

    Source: M. Gu, S. C. Eisenstat, "A divide-and-conquer algorithm for the bidiagonal
    SVD", SIAM J. Matrix Anal. Appl. 16(1), 1995, pp. 79-92 (LAPACK's ``gesdd``).
    """
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    # Why the vectors, which are not returned: see GIL above.
    _, values, _ = np.linalg.svd(matrix)
    return {"largest": significant(float(values[0])), "sum": significant(float(values.sum()))}


def reference_svd(n: int, seed: int) -> dict[str, float]:
    """Rotate pairs of columns until all are orthogonal; their lengths are the values.

    One-sided Jacobi: M. R. Hestenes, "Inversion of matrices by biorthogonalization
    and related results", J. SIAM 6(1), 1958, pp. 51-90.
    """
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    columns = [list(column) for column in matrix.T.tolist()]

    turned = True
    while turned:
        turned = False
        for i in range(n - 1):
            for j in range(i + 1, n):
                turned |= _make_orthogonal(columns, i, j)
    lengths = [math.sqrt(_dot(column, column)) for column in columns]
    return {"largest": max(lengths), "sum": sum(lengths)}


def _make_orthogonal(columns: list[list[float]], i: int, j: int) -> bool:
    """Rotate columns i and j in their plane; return whether that was needed."""
    first, second = columns[i], columns[j]
    alpha, beta, gamma = _dot(first, first), _dot(second, second), _dot(first, second)
    if abs(gamma) <= 1e-14 * math.sqrt(alpha * beta):
        return False
    zeta = (beta - alpha) / (2 * gamma)
    tangent = math.copysign(1.0, zeta) / (abs(zeta) + math.hypot(1.0, zeta))
    cosine = 1 / math.hypot(1.0, tangent)
    sine = cosine * tangent
    pairs = list(zip(first, second, strict=True))
    columns[i] = [cosine * a - sine * b for a, b in pairs]
    columns[j] = [sine * a + cosine * b for a, b in pairs]
    return True


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
