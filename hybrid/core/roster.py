"""The supervisor's records: a worker, and the slot it is in.

Only the supervisor changes them; `hybrid status` and the wishes of the control
socket look.
"""

from __future__ import annotations

from dataclasses import dataclass

from hybrid.core.leaving import Leaving
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
    leaving: Leaving | None = None  # why it was asked to leave or will be; None: it stays
    reason: str = ""  # the same in words
    cut_at: float | None = None  # when it is killed; set when it drains
    failure: str | None = None  # what it said about its failed boot
    accepting: bool = True  # False: it has confirmed that it takes no more connections
    late: bool = False  # it was not ready in time, and that has been said

    @property
    def asked(self) -> Leaving | None:
        """Why it has been ordered to leave; None: it has not been."""
        return self.leaving if self.state is State.DRAINING else None

    def leave(self, leaving: Leaving, text: str = "") -> None:
        """Note why it leaves, unless there is a reason already."""
        if self.leaving is None:
            self.leaving, self.reason = leaving, text or leaving.value

    def stay(self) -> None:
        """Forget why it was to leave."""
        self.leaving, self.reason = None, ""

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
