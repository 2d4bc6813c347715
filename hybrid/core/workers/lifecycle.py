"""The states of one I/O worker, as the primary sees it, and why a worker leaves.

Rule 1: every state change of a worker goes through `advance`; no other code
        assigns a state.
Rule 2: this module does no I/O and reads no clock.

`mermaid()` draws the diagram in ARCHITECTURE.md from TRANSITIONS; a test keeps
the two equal, so the drawing cannot drift from the code.
"""

from __future__ import annotations

from enum import Enum

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
    RECYCLE = "recycle"  # it has reached a limit, or a job that never ends holds a pool slot


class WorkerState(Enum):
    """Where a worker is in its life."""

    STARTING = "starting"  # forked; has not sent READY yet
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
        WorkerEvent.READY: WorkerState.DRAINING,  # READY was in flight when DRAIN was sent
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
