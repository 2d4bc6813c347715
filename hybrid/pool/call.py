"""One submitted job: a ticket with a function, its arguments and a future."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hybrid.core.departure import JobTimes
from hybrid.core.jobs.ticket import JobState, Ticket
from hybrid.pool.job import Job
from hybrid.pool.queue_line import QueueLine
from hybrid.pool.reporting import logger

Progress = Callable[[float, str], None]  # fraction 0 … 1, note


class Call(Ticket):
    """A ticket of the pool. Owned by the event-loop thread; threads only read it."""

    __slots__ = (
        "args",
        "deadline",
        "ended_at",
        "future",
        "job",
        "kwargs",
        "lane",
        "needs_permit",
        "on_progress",
        "permit",
        "slot",
    )

    def __init__(
        self,
        job: Job,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        line: QueueLine,
        now: float,
        deadline: float,
        future: asyncio.Future[Any],
        on_progress: Progress | None,
    ) -> None:
        super().__init__(line.index, now, now + deadline)
        self.job, self.args, self.kwargs = job, args, kwargs
        self.lane = line.lane
        self.needs_permit = line.needs_permit
        self.deadline = deadline  # seconds given; math.inf: none
        self.future: asyncio.Future[Any] | None = future  # None: answered
        self.on_progress = on_progress
        self.ended_at = 0.0  # monotonic s; 0: its work is not over
        self.slot = -1  # number of the slot it runs in; -1: it has not run
        self.permit = -1  # index of the permit it holds; -1: none

    def times(self, now: float) -> JobTimes:
        """Return where its time went; `now` stands in for an end that is yet to come."""
        return JobTimes(
            self.job.name,
            self.started_at - self.submitted_at,
            (self.ended_at or now) - self.started_at,
            self.lane,
            self.slot,
        )

    def report(self, fraction: float, note: str) -> None:
        """Pass a progress report on, while the submitter still waits.

        A callback that raises is logged and not called again: the job is not to blame,
        and on the process lane its result may be the next thing in the same read.
        """
        if self.on_progress is None or self.state is not JobState.RUNNING:
            return
        try:
            self.on_progress(fraction, note)
        except Exception:
            self.on_progress = None
            logger.exception("on_progress of job %s raised; it is not called again", self.job.name)

    def drop_arguments(self) -> None:
        """Drop the arguments, which may be large: the deadlines hold the call for longer."""
        self.args, self.kwargs = (), {}
