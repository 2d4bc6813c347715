"""Threads of numpy's BLAS library, limited before and after it is loaded.

Eight workers with four slots, each of whose matrix products starts one thread
per core, are 8 × 4 × cores runnable threads. The libraries read these
variables once, when they are loaded; hence `limit_before_import` must run
before numpy is imported, and the primary, which must not have threads when
it forks, always limits to 1. A child that may have more says so afterwards.
"""

from __future__ import annotations

import os
import sys

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


_limited_to = 0  # threads the libraries were loaded with; 0: unknown. Inherited by fork


def limit_before_import(threads: int = 1) -> bool:
    """Set the libraries' variables; return False where numpy is already loaded."""
    global _limited_to  # one fact about the process
    for name in _VARIABLES:
        os.environ[name] = str(threads)
    is_early = "numpy" not in sys.modules
    _limited_to = threads if is_early else 0
    return is_early


def set_blas_threads(threads: int) -> None:
    """Set the threads of every loaded BLAS and OpenMP library of this process.

    Process-wide (OpenBLAS keeps one pool for all calling threads). Nothing to do
    where they were loaded with this number; else some 10 ms and 1 MB the first time, because the
    loaded libraries are searched for.
    """
    global _limited_to
    if threads == _limited_to:
        return
    _limited_to = 0
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=threads)


def blas_threads() -> int | None:
    """Return the largest number of threads a loaded BLAS reports, None without one."""
    from threadpoolctl import threadpool_info

    return max((lib["num_threads"] for lib in threadpool_info()), default=None)
