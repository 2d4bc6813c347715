"""The life of one I/O worker, as the primary sees it.

Rule 1: every state change of a worker goes through `advance`; nobody assigns
        a state by hand.
Rule 2: this module does no I/O and reads no clock.

`mermaid()` draws the diagram in ARCHITECTURE.md from TRANSITIONS; a test keeps
the two equal, so the drawing cannot drift from the code.
"""

from __future__ import annotations

from enum import Enum

from hybrid.errors import IllegalTransition


class State(Enum):
    """Where a worker is in its life."""

    STARTING = "starting"  # forked; has not said READY yet
    READY = "ready"  # accepting connections
    DRAINING = "draining"  # accepts nothing new, finishes what it has
    EXITED = "exited"  # reaped; the record is history


class Happening(Enum):
    """What can happen to a worker."""

    READY = "ready"  # the worker wrote READY on its channel
    DRAIN = "drain"  # the primary asked it to leave
    EXIT = "exit"  # waitpid() returned its pid


TRANSITIONS: dict[State, dict[Happening, State]] = {
    State.STARTING: {
        Happening.READY: State.READY,
        Happening.DRAIN: State.DRAINING,  # asked to leave while still booting
        Happening.EXIT: State.EXITED,  # could not boot
    },
    State.READY: {
        Happening.DRAIN: State.DRAINING,
        Happening.EXIT: State.EXITED,  # crashed
    },
    State.DRAINING: {
        Happening.READY: State.DRAINING,  # READY was in flight when we said DRAIN
        Happening.DRAIN: State.DRAINING,  # it may be asked again, to empty the backlog
        Happening.EXIT: State.EXITED,
    },
    State.EXITED: {},
}


def advance(state: State, happening: Happening) -> State:
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
