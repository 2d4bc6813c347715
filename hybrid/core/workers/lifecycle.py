"""The life of one I/O worker, as the primary sees it, and the records that hold it.

Rule 1: every state change of a worker goes through `advance`; no other code
        assigns a state.
Rule 2: this module does no I/O and reads no clock.

`mermaid()` draws the diagram in ARCHITECTURE.md from TRANSITIONS; a test keeps
the two equal, so the drawing cannot drift from the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hybrid.core.workers.restart import YOUNG
from hybrid.errors import IllegalTransition

# -- Why a worker leaves: one list, for the supervisor, the links and the counters ---
# Code compares the members of `Leaving`. The text beside one is for readers: a
# log line, `hybrid status`, the hooks of an application.


class Leaving(Enum):
    """Why a worker was asked to leave, or asks to. The value is its text when there is no other."""

    RELOAD = "reload"  # a new generation takes its place
    SCALE = "scale"  # fewer workers are wanted
    STOP = "stop"  # the cluster ends
    DRAIN = "drain"  # an operator wants it replaced
    DISCONNECT = "disconnect"  # the script that forked it wants it to leave
    TERM = "SIGTERM"  # it was sent one
    RECYCLE = "recycle"  # it has reached a limit, or lost a slot of its pool for ever


class WorkerState(Enum):
    """Where a worker is in its life."""

    STARTING = "starting"  # forked; has not said READY yet
    READY = "ready"  # accepting connections
    DRAINING = "draining"  # accepts nothing new, finishes what it has
    EXITED = "exited"  # reaped; the record is history


class WorkerEvent(Enum):
    """What can happen to a worker."""

    READY = "ready"  # the worker wrote READY on its channel
    DRAIN = "drain"  # the primary asked it to leave
    EXIT = "exit"  # waitpid() returned its pid


TRANSITIONS: dict[WorkerState, dict[WorkerEvent, WorkerState]] = {
    WorkerState.STARTING: {
        WorkerEvent.READY: WorkerState.READY,
        WorkerEvent.DRAIN: WorkerState.DRAINING,  # asked to leave while still booting
        WorkerEvent.EXIT: WorkerState.EXITED,  # could not boot
    },
    WorkerState.READY: {
        WorkerEvent.DRAIN: WorkerState.DRAINING,
        WorkerEvent.EXIT: WorkerState.EXITED,  # crashed
    },
    WorkerState.DRAINING: {
        WorkerEvent.READY: WorkerState.DRAINING,  # READY was in flight when we said DRAIN
        WorkerEvent.DRAIN: WorkerState.DRAINING,  # it may be asked again, to empty the backlog
        WorkerEvent.EXIT: WorkerState.EXITED,
    },
    WorkerState.EXITED: {},
}


def advance(state: WorkerState, happening: WorkerEvent) -> WorkerState:
    """Return the state that follows `state`.

    Raises:
        IllegalTransition: the table has no such entry. That is a bug in the
            primary, never an operating condition, so nothing catches it.
    """
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise IllegalTransition(f"{happening.name} while {state.name}") from None


def mermaid() -> str:
    """Return TRANSITIONS as a Mermaid state diagram."""
    edges = [
        f"    {state.value} --> {after.value}: {happening.value}"
        for state, row in TRANSITIONS.items()
        for happening, after in row.items()
    ]
    return "\n".join(["stateDiagram-v2", *edges])


if __name__ == "__main__":
    print(mermaid())


# -- The supervisor's records: a worker, the slot it is in, and what kind of work workers do ---
# Only the supervisor changes them; `hybrid status`, the wishes of the control
# socket and a script look.


@dataclass(frozen=True, slots=True)
class Work:
    """What workers do: everything that tells a server's workers from a script's, in one row.

    A server has a number of slots, and each always has a worker. A script fills a
    slot with a function; when that ends, the slot is free until it forks again.
    """

    refills: bool  # a slot stays wanted when its worker leaves: the supervisor finds another
    works_at_once: bool  # from the fork on, so that it may never say that it is ready
    may_return: bool  # exit code 0 is its regular end, not a death


#                   refills      works_at_once        may_return
APPLICATION = Work(refills=True, works_at_once=False, may_return=False)
FUNCTION = Work(refills=False, works_at_once=True, may_return=True)


@dataclass(slots=True)
class WorkerRecord:
    """One worker process, living or draining. Records of exited ones are dropped."""

    id: int
    slot: int
    generation: int
    state: WorkerState
    started_at: float
    ready_at: float | None = None
    leaving: Leaving | None = None  # why it was asked to leave or will be; None: it stays
    reason: str = ""  # the same in words
    cut_at: float | None = None  # when it is killed; set when it drains
    failure: str | None = None  # what it said about its failed boot
    has_listened: bool = False  # it takes connections, or did until it was asked to leave
    accepting: bool = True  # False: it has confirmed that it takes no more connections
    late: bool = False  # it was not ready in time, and that has been said

    @property
    def asked(self) -> Leaving | None:
        """Why it has been ordered to leave; None: it has not been."""
        return self.leaving if self.state is WorkerState.DRAINING else None

    def leave(self, leaving: Leaving, text: str = "") -> None:
        """Note why it leaves, unless there is a reason already."""
        if self.leaving is None:
            self.leaving, self.reason = leaving, text or leaving.value

    def stay(self) -> None:
        """Forget why it was to leave."""
        self.leaving, self.reason = None, ""

    def is_at_work(self, work: Work) -> bool:
        """Return whether it has something to finish: it is ready, or needs not be."""
        is_ready = self.state is WorkerState.READY
        return is_ready or (work.works_at_once and self.state is WorkerState.STARTING)

    def is_young(self, work: Work, now: float) -> bool:
        """Return whether its death would be its own fault, not bad luck."""
        since = self.started_at if self.ready_at is None and work.works_at_once else self.ready_at
        return since is None or now - since < YOUNG

    def proves_itself(self, work: Work, now: float) -> bool:
        """Return whether it shows that workers can live here.

        A server's says so itself when it is ready. A function need not say anything:
        it has to live for a while.
        """
        if work.works_at_once:
            return not self.is_young(work, now)
        return self.state is WorkerState.READY

    def __str__(self) -> str:
        """Return its name for a log line."""
        return f"worker slot={self.slot} generation={self.generation}"


@dataclass(slots=True)
class Slot:
    """A place for a worker. It survives the workers in it."""

    failures: int = 0  # young deaths in a row
    failure: str = ""  # why the last of them was
    restarts: int = 0  # workers that died here without having been asked to leave
    start_at: float = 0.0  # monotonic s; not filled before
