"""A process cluster with a compute pool per worker, for Falcon (or any ASGI) and numpy.

The public API, loaded lazily: ``import hybrid`` imports neither numpy nor
falcon, because the primary must limit the BLAS threads before numpy is
imported, and because ``hybrid --help`` must be quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid.api.install import install as install
    from hybrid.errors import HybridError as HybridError
    from hybrid.errors import JobCancelled as JobCancelled
    from hybrid.errors import JobError as JobError
    from hybrid.errors import JobTimeout as JobTimeout
    from hybrid.errors import PoolBroken as PoolBroken
    from hybrid.errors import QueueFull as QueueFull
    from hybrid.pool.job import Job as Job
    from hybrid.pool.job import job as job
    from hybrid.pool.submit import submit as submit

__version__ = "0.1.0"

_HOMES = {
    "Job": "hybrid.pool.job",
    "job": "hybrid.pool.job",
    "submit": "hybrid.pool.submit",
    "install": "hybrid.api.install",
    "HybridError": "hybrid.errors",
    "JobError": "hybrid.errors",
    "JobCancelled": "hybrid.errors",
    "JobTimeout": "hybrid.errors",
    "PoolBroken": "hybrid.errors",
    "QueueFull": "hybrid.errors",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import the home of a public name on first use (PEP 562)."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'hybrid' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
