"""The supervisor's events (what happened) and actions (what follows): plain values."""

from __future__ import annotations

from dataclasses import dataclass

from hybrid.core.workers.lifecycle import Leaving

# -- events: what happened ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker is ready: it serves, or (only a script's) takes messages."""

    worker: int
    listening: bool = True


@dataclass(frozen=True, slots=True)
class WorkerFailedToBoot:
    """A worker reported why it is about to exit without having been ready."""

    worker: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """A worker was reaped."""

    worker: int
    how: str  # "exit code 1", "killed by SIGKILL …"
    code: int | None = None  # its exit code; None: a signal ended it


@dataclass(frozen=True, slots=True)
class WorkerNotForked:
    """The fork of a worker failed; its slot is still wanted."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class SlotWanted:
    """A script wants a worker in a slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class SlotNotWanted:
    """A script no longer wants a worker in a slot, and none has been forked yet."""

    slot: int


@dataclass(frozen=True, slots=True)
class WorkerWantsToLeave:
    """A worker is to be replaced: it asks for that itself, or an operator does."""

    worker: int
    leaving: Leaving
    text: str = ""  # the reason in words; empty: the value of `leaving`


@dataclass(frozen=True, slots=True)
class BacklogEmptied:
    """The last acceptor has accepted every connection that waited in the backlog."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerLeftDistribution:
    """A draining worker confirms that it accepts nothing more."""

    worker: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The cluster is to end; `quick`: without finishing anything."""

    quick: bool


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """Every worker is to be replaced."""


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """Another number of workers is wanted: `by` more (or fewer), or exactly `to`."""

    by: int = 0
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, nothing else."""


Event = (
    WorkerReady
    | WorkerFailedToBoot
    | WorkerExited
    | WorkerNotForked
    | SlotWanted
    | SlotNotWanted
    | WorkerWantsToLeave
    | BacklogEmptied
    | WorkerLeftDistribution
    | StopAsked
    | ReloadAsked
    | ScaleAsked
    | Tick
)

# -- actions: what to do about it --------------------------------------------


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Fork a worker."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """Ask a worker to finish and leave; the `final` one empties the backlog first."""

    worker: int
    grace: float
    final: bool = False
    reason: str = ""  # in words
    again: bool = False  # it drains already, and becomes the last acceptor


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a worker and its pool processes now."""

    worker: int


@dataclass(frozen=True, slots=True)
class CloseListeners:
    """Close the primary's copy of every listener, then inform this worker (if any)."""

    worker: int | None


@dataclass(frozen=True, slots=True)
class ReloadBegun:
    """A new generation replaces the workers from now on."""

    generation: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """Another number of workers is wanted from now on."""

    before: int
    target: int


@dataclass(frozen=True, slots=True)
class StopBegun:
    """The cluster ends: new connections are left to the last acceptor."""


@dataclass(frozen=True, slots=True)
class AllReady:
    """Every wanted worker is ready, for the first time since the start or a reload."""

    generation: int


@dataclass(frozen=True, slots=True)
class ReloadAborted:
    """A worker of the new generation could not boot: the previous settings are in force again."""

    generation: int


@dataclass(frozen=True, slots=True)
class Log:
    """Write one line."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """End the primary; every worker has been reaped."""

    code: int


Action = (
    StartWorker
    | DrainWorker
    | KillWorker
    | CloseListeners
    | ReloadBegun
    | Scaled
    | StopBegun
    | AllReady
    | ReloadAborted
    | Log
    | Exit
)
