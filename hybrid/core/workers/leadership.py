"""Which worker is the leader, so that what must happen once happens once.

Rule 1: there is never more than one. A leader that leaves is told to give it
        up, and the next one is appointed when it has confirmed or is dead. For
        a moment there may be none.
Rule 2: a leader stays leader while it is ready: every move costs the
        application a hand-over of its own work.
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
    """What to tell a worker."""

    worker: int
    leads: bool


class Leadership:
    """Who leads. Pure: told about workers, answers with orders."""

    def __init__(self) -> None:
        self.leader: int | None = None
        self._retiring: int | None = None  # told to give it up, has not confirmed

    def update(self, candidates: Iterable[LeaderCandidate]) -> list[Order]:
        """Look at the ready workers; return what to tell whom, in order."""
        ready = sorted(candidates, key=lambda c: (c.leaving, c.worker))
        orders: list[Order] = []
        if self.leader is not None and all(c.worker != self.leader for c in ready):
            self._retiring, self.leader = self.leader, None
            orders.append(Order(self._retiring, leads=False))
        if self.leader is None and self._retiring is None and ready:
            self.leader = ready[0].worker
            orders.append(Order(self.leader, leads=True))
        return orders

    def given_up(self, worker: int) -> None:
        """Note that the worker has confirmed: it acts as leader no more."""
        if self._retiring == worker:
            self._retiring = None

    def gone(self, worker: int) -> None:
        """Note that the worker is dead."""
        self.given_up(worker)
        if self.leader == worker:
            self.leader = None
