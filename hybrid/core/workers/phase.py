"""The state of the whole cluster, as a table: for the supervisor, status and systemd."""

from __future__ import annotations

from enum import Enum

from hybrid.errors import IllegalTransition


class Phase(Enum):
    """The state of the cluster; `hybrid status` and systemd show it."""

    STARTING = "starting"  # not every slot has had a ready worker yet
    READY = "ready"
    RELOADING = "reloading"  # a new generation replaces the workers
    STOPPING = "stopping"  # the workers drain, or have been killed


class Change(Enum):
    """What can happen to the cluster."""

    FILLED = "filled"  # every wanted slot has a ready worker of the wanted generation
    RELOAD = "reload"  # the workers are to be replaced
    ABORT = "abort"  # of the reload: its generation cannot start
    STOP = "stop"  # the end is wanted, or no worker can live here


TRANSITIONS: dict[Phase, dict[Change, Phase]] = {
    Phase.STARTING: {
        Change.FILLED: Phase.READY,
        Change.RELOAD: Phase.STARTING,
        Change.ABORT: Phase.STARTING,  # the generation before was not complete either
        Change.STOP: Phase.STOPPING,
    },
    Phase.READY: {
        Change.RELOAD: Phase.RELOADING,
        Change.STOP: Phase.STOPPING,
    },
    Phase.RELOADING: {
        Change.FILLED: Phase.READY,
        Change.RELOAD: Phase.RELOADING,  # it starts over
        Change.ABORT: Phase.READY,
        Change.STOP: Phase.STOPPING,
    },
    Phase.STOPPING: {
        Change.STOP: Phase.STOPPING,  # a second request: at once
    },
}


def advance_phase(phase: Phase, change: Change) -> Phase:
    """Return the phase that follows.

    Raises:
        IllegalTransition: the table has no such entry; a bug in the supervisor.
    """
    try:
        return TRANSITIONS[phase][change]
    except KeyError:
        raise IllegalTransition(f"{change.name} while {phase.name}") from None
