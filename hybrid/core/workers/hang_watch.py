"""When a worker's event loop has stood still for so long that it is replaced.

Off by default: a loop that computes for a minute is slow, not dead. Where the
operator sets a limit, the worker first prints where every thread stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

DUMP_TIME = 1.0  # s from asking for the stacks to the kill


class HangStep(Enum):
    """What to do about a hung worker."""

    DUMP = "dump"  # print the stack of every thread
    KILL = "kill"


class HangWatch:
    """Compares how late the next tick of each loop is with a limit."""

    def __init__(self, timeout: float) -> None:
        """Let a tick be `timeout` seconds late; 0: any number."""
        self.timeout = timeout
        self._dumped: dict[int, float] = {}  # worker -> when it was asked for its stacks
        self.killed: set[int] = set()  # workers whose exit is counted as hung

    def due_steps(self, due: Mapping[int, float], now: float) -> list[tuple[int, HangStep]]:
        """Return the steps that are due.

        Args:
            due: by worker, the monotonic time at which its loop means to tick next;
                0.0 for one that still starts, which is never judged.
            now: monotonic seconds.
        """
        if not self.timeout:
            return []
        hung = {w for w, at in due.items() if at and now - at > self.timeout}
        self._dumped = {w: at for w, at in self._dumped.items() if w in hung}
        steps = []
        for worker in sorted(hung):
            asked = self._dumped.setdefault(worker, now)
            if asked == now:
                steps.append((worker, HangStep.DUMP))
            elif now - asked >= DUMP_TIME:
                steps.append((worker, HangStep.KILL))
                self.killed.add(worker)
        return steps

    @property
    def period(self) -> float | None:
        """Seconds between two calls of `due_steps`; None: none is needed."""
        return min(DUMP_TIME, self.timeout / 4) if self.timeout else None
