"""Which waiting or running job is the next to pass its deadline.

A timer per job costs the loop two system-library calls per job, and nearly no
timer ever fires: jobs end long before their deadline. So all deadlines of a
pool share one timer: a heap whose entries are dropped when they surface.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

from hybrid.core.jobs.ticket import JobState, Ticket

T = TypeVar("T", bound=Ticket)

_SLACK = 256  # entries that may be dead before the heap is rebuilt


class Deadlines(Generic[T]):
    """Tickets by deadline. Times are monotonic seconds and passed in."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._entries = 0  # breaks ties, so that tickets are never compared

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, ticket: T) -> bool:
        """Add `ticket`; return whether its deadline is now the earliest."""
        if ticket.deadline_at == math.inf:
            return False
        self._entries += 1
        heapq.heappush(self._heap, (ticket.deadline_at, self._entries, ticket))
        return self._heap[0][2] is ticket

    def forget_ended(self, alive: int) -> None:
        """Drop ended tickets once they outnumber the `alive` ones.

        Amortised O(1) per ticket: the heap is rebuilt after it has doubled.
        """
        if len(self._heap) > 2 * alive + _SLACK:
            self._heap = [entry for entry in self._heap if _is_open(entry[2])]
            heapq.heapify(self._heap)

    def due(self, now: float) -> list[T]:
        """Remove and return the open tickets whose deadline has passed."""
        late = []
        while self._heap and self._heap[0][0] <= now:
            ticket = heapq.heappop(self._heap)[2]
            if _is_open(ticket):
                late.append(ticket)
        return late

    def next_at(self) -> float:
        """Return when `due` has to be called again; ``inf``: no ticket has a deadline."""
        while self._heap and not _is_open(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf


def _is_open(ticket: Ticket) -> bool:
    return ticket.state is JobState.WAITING or ticket.state is JobState.RUNNING
