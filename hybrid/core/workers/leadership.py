"""Which worker is the leader, so that what must happen once happens once.

Rule 1: there is never more than one leader. A leader that leaves is ordered to
        step down, and the next one is appointed when it has confirmed or is
        dead. For a moment there may be none.
Rule 2: a leader stays leader while it is ready: every change makes the
        application move the leader's work.
Rule 3: a worker that is about to be replaced is chosen only if all are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaderCandidate:
    """A ready worker."""

    worker: int  # id; a smaller one is older
    leaving: bool = False  # it will be replaced soon


@dataclass(frozen=True, slots=True)
class Order:
    """A worker becomes the leader, or steps down."""

    worker: int
    leads: bool


class Leadership:
    """Which worker leads, and the orders that keep it so."""

    def __init__(self) -> None:
        self.leader: int | None = None
        self._retiring: int | None = None  # was ordered to step down, has not confirmed

    def update(self, candidates: Iterable[LeaderCandidate]) -> list[Order]:
        """Compare with the ready workers; return the orders that follow, in sequence."""
        ready = sorted(candidates, key=lambda c: (c.leaving, c.worker))
        orders: list[Order] = []
        if self.leader is not None and all(c.worker != self.leader for c in ready):
            self._retiring, self.leader = self.leader, None
            orders.append(Order(self._retiring, leads=False))
        if self.leader is None and self._retiring is None and ready:
            self.leader = ready[0].worker
            orders.append(Order(self.leader, leads=True))
        return orders

    def note_confirmed(self, worker: int) -> None:
        """Note that the worker has stepped down."""
        if self._retiring == worker:
            self._retiring = None

    def note_exit(self, worker: int) -> None:
        """Note that the worker is dead."""
        self.note_confirmed(worker)
        if self.leader == worker:
            self.leader = None
