"""A process cluster with a compute pool per worker, for Falcon (or any ASGI or WSGI) and numpy.

The public API, loaded lazily: ``import hybrid`` imports neither numpy nor
falcon, because the primary must limit the BLAS threads before numpy is
imported, and because ``hybrid --help`` must be quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid import cluster as cluster
    from hybrid.api.resources import Live as Live
    from hybrid.api.resources import Metrics as Metrics
    from hybrid.api.resources import Ready as Ready
    from hybrid.api.resources import Status as Status
    from hybrid.api.session.session import Session as Session
    from hybrid.api.session.session_middleware import FalconSessions as FalconSessions
    from hybrid.api.session.session_middleware import Sessions as Sessions
    from hybrid.api.session.signed import SignedSessions as SignedSessions
    from hybrid.api.session.stored import StoredSessions as StoredSessions
    from hybrid.api.view import current_view as current_view
    from hybrid.core.departure import JobTimes as JobTimes
    from hybrid.errors import DeadlineTooShort as DeadlineTooShort
    from hybrid.errors import HybridError as HybridError
    from hybrid.errors import JobCancelled as JobCancelled
    from hybrid.errors import JobError as JobError
    from hybrid.errors import JobOutOfMemory as JobOutOfMemory
    from hybrid.errors import JobRefused as JobRefused
    from hybrid.errors import JobTimeout as JobTimeout
    from hybrid.errors import LockBusy as LockBusy
    from hybrid.errors import LockLost as LockLost
    from hybrid.errors import MailboxFull as MailboxFull
    from hybrid.errors import MailError as MailError
    from hybrid.errors import NoReply as NoReply
    from hybrid.errors import NoSuchWorker as NoSuchWorker
    from hybrid.errors import NotACounter as NotACounter
    from hybrid.errors import NotInCluster as NotInCluster
    from hybrid.errors import PoolBroken as PoolBroken
    from hybrid.errors import PoolClosed as PoolClosed
    from hybrid.errors import QueueFull as QueueFull
    from hybrid.errors import RateLimited as RateLimited
    from hybrid.errors import RequestFailed as RequestFailed
    from hybrid.errors import ResultNotPicklable as ResultNotPicklable
    from hybrid.errors import SessionConflict as SessionConflict
    from hybrid.errors import StateError as StateError
    from hybrid.errors import StateUnavailable as StateUnavailable
    from hybrid.errors import StateUnsupported as StateUnsupported
    from hybrid.errors import ValueTooLarge as ValueTooLarge
    from hybrid.integrations.installing import install as install
    from hybrid.integrations.middleware import Middleware as Middleware
    from hybrid.pool.arena.resident import resident as resident
    from hybrid.pool.blocking import run as run
    from hybrid.pool.job import Job as Job
    from hybrid.pool.job import initializer as initializer
    from hybrid.pool.job import job as job
    from hybrid.pool.running import progress as progress
    from hybrid.pool.submit import arena_alloc as arena_alloc
    from hybrid.pool.submit import broadcast as broadcast
    from hybrid.pool.submit import last_timing as last_timing
    from hybrid.pool.submit import submit as submit
    from hybrid.shared_state.caching import cached as cached
    from hybrid.shared_state.rate_limiting import RateDecision as RateDecision
    from hybrid.shared_state.rate_limiting import RateLimit as RateLimit
    from hybrid.shared_state.state import state as state

__version__ = "0.1.0"

_NAMES = {
    "hybrid.api.resources": ("Live", "Metrics", "Ready", "Status"),
    "hybrid.integrations.installing": ("install",),
    "hybrid.integrations.middleware": ("Middleware",),
    "hybrid.api.session.session_middleware": ("FalconSessions", "Sessions"),
    "hybrid.api.session.session": ("Session",),
    "hybrid.api.session.signed": ("SignedSessions",),
    "hybrid.api.session.stored": ("StoredSessions",),
    "hybrid.api.view": ("current_view",),
    "hybrid.errors": (
        "HybridError",
        "JobCancelled",
        "JobError",
        "JobOutOfMemory",
        "JobRefused",
        "JobTimeout",
        "LockBusy",
        "LockLost",
        "MailError",
        "MailboxFull",
        "NoReply",
        "NoSuchWorker",
        "NotACounter",
        "NotInCluster",
        "PoolBroken",
        "PoolClosed",
        "QueueFull",
        "DeadlineTooShort",
        "RequestFailed",
        "RateLimited",
        "ResultNotPicklable",
        "SessionConflict",
        "StateError",
        "StateUnavailable",
        "StateUnsupported",
        "ValueTooLarge",
    ),
    "hybrid.core.departure": ("JobTimes",),
    "hybrid.pool.running": ("progress",),
    "hybrid.pool.blocking": ("run",),
    "hybrid.pool.job": ("Job", "initializer", "job"),
    "hybrid.pool.arena.resident": ("resident",),
    "hybrid.shared_state.caching": ("cached",),
    "hybrid.shared_state.rate_limiting": ("RateDecision", "RateLimit"),
    "hybrid.shared_state.state": ("state",),
    "hybrid.pool.submit": ("arena_alloc", "broadcast", "last_timing", "submit"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = ["__version__", *sorted([*_HOMES, "cluster"])]


def __getattr__(name: str) -> Any:
    """Import the home of a public name on first use (PEP 562)."""
    if name == "cluster":
        return import_module("hybrid.cluster")
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'hybrid' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
