"""The supervisor's records: a worker, and the slot it is in.

Only the supervisor changes them; `hybrid status` and the wishes of the control
socket look.
"""

from __future__ import annotations

from dataclasses import dataclass

from hybrid.core.lifecycle import State


@dataclass(slots=True)
class Worker:
    """One worker process, living or draining. Records of exited ones are dropped."""

    id: int
    slot: int
    generation: int
    state: State
    started_at: float
    ready_at: float | None = None
    leaving: str | None = None  # why it shall be replaced; None: it shall stay
    cut_at: float | None = None  # when it is killed; set when it drains
    failure: str | None = None  # what it said about its failed boot
    accepting: bool = True  # False: it has confirmed that it takes no more connections
    late: bool = False  # it was not ready in time, and that has been said

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
