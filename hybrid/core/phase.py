"""What the whole cluster is doing, in one word and one line: for status and for systemd."""

from __future__ import annotations

from enum import Enum

from hybrid.core.lifecycle import State
from hybrid.core.supervision import Supervisor


class Phase(Enum):
    """The cluster's state, derived from the supervisor's records."""

    STARTING = "starting"  # not every slot has had a ready worker yet
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


def phase(supervisor: Supervisor) -> Phase:
    """Return the phase."""
    if supervisor.stopping:
        return Phase.STOPPING
    if not supervisor.was_ready:
        return Phase.STARTING
    return Phase.RELOADING if supervisor.generations.reloading else Phase.READY


def describe(supervisor: Supervisor) -> str:
    """Return a line such as ``ready: 8 of 8 workers, generation 2``."""
    ready = sum(worker.state is State.READY for worker in supervisor.workers.values())
    return (
        f"{phase(supervisor).value}: {ready} of {supervisor.target} workers, "
        f"generation {supervisor.generations.wanted}"
    )
