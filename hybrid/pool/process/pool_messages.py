"""What a worker and a pool process say to each other, apart from jobs and results."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hybrid.pool.arena.window import RegionInfo


@dataclass(frozen=True, slots=True)
class ProcessHello:
    """The worker's first message."""

    jobs: tuple[str, ...]  # addresses whose modules are imported before READY
    initializers: tuple[str, ...]  # addresses of functions to call before READY
    jobs_until_replacement: int  # 0: never; jittered by the worker
    rss_until_replacement: int  # bytes of own memory; 0: never; jittered as well
    region: RegionInfo | None  # None: no arena


@dataclass(frozen=True, slots=True)
class ProcessReady:
    """The process takes jobs from now on."""

    seconds: float  # for imports and initialisers


@dataclass(frozen=True, slots=True)
class Note:
    """Sent before an answer when there is something to know."""

    kept: tuple[int, ...]  # arena offsets of arguments that the job still refers to
    replace: bool  # this process has done its share: replace it


@dataclass(frozen=True, slots=True)
class Raised:
    """The job raised; `pickled` stays bytes until the link is in order again."""

    pickled: bytes
    name: str  # module.Type
    traceback: str


class Reason(Enum):
    """Why there is neither a result nor an exception."""

    NOT_READY = "not ready"  # an import or initialiser raised; the process is leaving
    NOT_LOADABLE = "not loadable"  # the job or its arguments cannot be loaded here
    NOT_PICKLABLE = "not picklable"  # what it returned or raised cannot travel
    OUT_OF_MEMORY = "out of memory"  # over the limit of the process


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer, and why."""

    reason: Reason
    message: str
    traceback: str  # of the process; "": none
