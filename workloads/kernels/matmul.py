"""Dense matrix product."""

from __future__ import annotations

import math

import numpy as np

from workloads.kernels.rounding import significant


def matmul(n: int, seed: int) -> dict[str, float]:
    """Multiply two random square matrices.

    Args:
        n: rows and columns; both factors have shape (n, n), float64, standard normal.
        seed: of the random generator.

    Returns:
        ``norm``: the Frobenius norm of the product; ``trace``: the sum of its diagonal.

    Cost: O(n³) time; 24 n² bytes at peak (two factors and the product).

    GIL: released while the product is computed. Longest hold by one call, of its time: 45 % at
    n = 30 (0.2 ms: making the input), 2 % from n = 300 on; two threads do 1.95 × the work of one.

    Source: K. Goto, R. A. van de Geijn, "Anatomy of high-performance matrix
    multiplication", ACM Trans. Math. Softw. 34(3), 2008, article 12 (what the BLAS does).
    """
    rng = np.random.default_rng(seed)
    product = rng.standard_normal((n, n)) @ rng.standard_normal((n, n))
    return {
        "norm": significant(float(np.linalg.norm(product))),
        "trace": significant(float(np.trace(product))),
    }


def reference_matmul(n: int, seed: int) -> dict[str, float]:
    """Multiply by the definition: every entry is a row times a column."""
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((n, n)).tolist()
    right = rng.standard_normal((n, n)).tolist()

    squares = trace = 0.0
    for row in range(n):
        for column in range(n):
            entry = sum(left[row][inner] * right[inner][column] for inner in range(n))
            squares += entry * entry
            if row == column:
                trace += entry
    return {"norm": math.sqrt(squares), "trace": trace}
