"""Which job may wait, which is next, and which is refused with a time to come back.

Rule 1: one queue per pool, of `lines`. A line is a kind of job that can be
        started or not for a reason of its own (its lane has no process yet, no
        permit is free), so a job that cannot start never blocks one that can.
Rule 2: among the lines that can start, NORMAL before LOW, then oldest first.
Rule 3: entering, leaving and taking cost the same with 1 and with 10,000 waiting.
Rule 4: no clock; times are monotonic seconds and passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from hybrid.core.jobs.ticket import Ticket
from hybrid.errors import DeadlineTooShort, QueueFull

T = TypeVar("T", bound=Ticket)

SHORTEST_RETRY = 0.1  # s; a smaller Retry-After only makes clients ask in a loop
_SMOOTHING = 0.125  # weight of a new sample, as TCP's smoothed RTT (RFC 6298 §2.3)
_TRUSTED = 8  # samples before an admission is refused on an estimate


class ServiceRate:
    """Jobs per second that this pool ends while it is saturated, smoothed.

    Only the time between two ends with all work places taken says how fast a
    queue moves; with less load the interval says how often clients come. Until
    there are such samples, `slots` divided by the mean run time stands in.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._interval = 0.0  # s between two ends while saturated; 0: no sample
        self._run = 0.0  # s a job runs; 0: no sample
        self._last_end = 0.0  # monotonic s of the last end that left jobs waiting; 0: none
        self.samples = 0

    def ended(self, now: float, run: float, saturated: bool) -> None:
        """Take one end into account; `saturated`: a job waits at this moment."""
        self.samples += 1
        self._run += _SMOOTHING * (run - self._run) if self._run else run
        if self._last_end:
            interval = now - self._last_end
            smoothed = _SMOOTHING * (interval - self._interval)
            self._interval += smoothed if self._interval else interval
        self._last_end = now if saturated else 0.0

    @property
    def per_second(self) -> float:
        """The rate; 0.0 while nothing is known."""
        if self._interval:
            return 1.0 / self._interval
        return self._slots / self._run if self._run else 0.0

    def wait(self, ahead: int) -> float:
        """Return the seconds until a job with `ahead` places before it has ended."""
        rate = self.per_second
        return (ahead + 1) / rate if rate else 0.0


class AdmissionQueue(Generic[T]):
    """The waiting tickets of one pool; see the rules above.

    Lines are numbered ``kind * 2`` (NORMAL) and ``kind * 2 + 1`` (LOW), where
    `kind` counts the sorts of job that can be startable or not. Every line is
    an OrderedDict keyed by arrival number: a linked list with O(1) removal from
    the middle. (A plain dict is not: after many removals at its front, finding
    its first key walks over the holes.)
    """

    def __init__(self, kinds: int, limit: int) -> None:
        self._lines: tuple[OrderedDict[int, T], ...] = tuple(
            OrderedDict() for _ in range(2 * kinds)
        )
        self.limit = limit  # places in line; 0: no limit
        self._arrivals = 0
        self.length = 0  # jobs in line; read it where every 50 ns count, len() elsewhere

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[T]:
        for line in self._lines:
            yield from line.values()

    def enter(self, ticket: T) -> None:
        """Put `ticket` at the end of its line."""
        self._arrivals += 1
        ticket.number = self._arrivals
        self._lines[ticket.line][ticket.number] = ticket
        self.length += 1

    def enter_again(self, ticket: T) -> None:
        """Put `ticket`, which was removed before, at the head of its line."""
        line = self._lines[ticket.line]
        line[ticket.number] = ticket
        line.move_to_end(ticket.number, last=False)
        self.length += 1

    def leave(self, ticket: T) -> None:
        """Remove `ticket`, wherever it stands.

        Raises:
            KeyError: it is not waiting; a bug in the pool.
        """
        del self._lines[ticket.line][ticket.number]
        self.length -= 1

    def next(self, kinds: Iterable[int]) -> T | None:
        """Return the next ticket of the startable `kinds`, without removing it."""
        for low in (0, 1):
            first: T | None = None
            for kind in kinds:
                line = self._lines[2 * kind + low]
                if line:
                    head = line[next(iter(line))]
                    if first is None or head.number < first.number:
                        first = head
            if first is not None:
                return first
        return None

    def waiting(self, kind: int) -> int:
        """Return how many jobs of `kind` wait, whatever their priority."""
        return len(self._lines[2 * kind]) + len(self._lines[2 * kind + 1])

    def oldest(self, kinds: Iterable[int]) -> float:
        """Return when the oldest waiting job of `kinds` was submitted; 0.0: none waits."""
        heads = [
            line[next(iter(line))].submitted_at
            for kind in kinds
            for line in self._lines[2 * kind : 2 * kind + 2]
            if line
        ]
        return min(heads, default=0.0)

    def ahead_of(self, low: bool) -> int:
        """Return how many waiting jobs a new one of that priority would wait for."""
        if low:
            return self.length
        return sum(len(line) for line in self._lines[::2])


def admit(waiting: int, ahead: int, limit: int, rate: ServiceRate, patience: float) -> None:
    """Admit a new job, or raise with the time to come back.

    Args:
        waiting: jobs in line now for which no slot is free.
        ahead: those of them that would run before the new one.
        limit: places in line; 0: no limit.
        rate: how fast this pool works.
        patience: seconds until the new job's deadline; ``inf``: none.

    Raises:
        QueueFull: no place is free; `retry_after` is when one can be expected.
        DeadlineTooShort: the deadline would pass before the end of the job;
            `retry_after` is when the queue will have become short enough.
    """
    if limit and waiting >= limit:
        raise QueueFull(waiting, limit, max(rate.wait(0), SHORTEST_RETRY))
    if not ahead or rate.samples < _TRUSTED:
        return
    expected = rate.wait(ahead)
    if expected > patience:
        raise DeadlineTooShort(waiting, limit, max(expected - patience, SHORTEST_RETRY))
