"""What a lane is to its pool, and the simplest one.

Rule 1: a lane runs at most as many calls at once as its pool has slots; the
        pool counts, the lane does not.
Rule 2: everything here runs on the event-loop thread.
Rule 3: `start` is followed by exactly one `ended` for that call, whatever
        happens to the member that runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from hybrid.core.jobs.ticket import JobState, Outcome
from hybrid.errors import PoolBroken
from hybrid.pool.call import Call
from hybrid.pool.job import LaneName
from hybrid.pool.running import execute, presentable


class MemberGone(Exception):
    """The member that should have run the call is gone; the call has not run."""


class LaneOwner(Protocol):
    """What a lane tells its pool; `ended` or `returned` once for every call started."""

    def ended(self, call: Call, outcome: Outcome, value: Any) -> None:
        """The work of `call` is over; `value` is its result or exception."""

    def returned(self, call: Call) -> None:
        """The member of `call` died before the work had begun."""

    def member_free(self) -> None:
        """The lane can start a call again."""

    def killed(self, call: Call) -> None:
        """The member that ran `call` was killed to stop it."""

    def fail_waiting(self, lane: LaneName, error: PoolBroken) -> None:
        """The lane cannot get members: waiting calls of this lane are hopeless."""

    def waiting(self, lane: LaneName) -> int:
        """Return how many calls of that lane wait."""


class Lane(Protocol):
    """Where calls run."""

    def ready(self) -> bool:
        """Return whether `start` would run a call at once."""

    def start(self, call: Call) -> None:
        """Run `call`.

        Raises:
            MemberGone: try again; nothing has run.
            JobError: this call cannot run here (its arguments cannot travel).
        """

    def abandon(self, call: Call) -> None:
        """`call` was answered without its result; stop its work if the lane can."""

    def request_members(self, calls: int) -> None:
        """Get more members if there are too few for this number of waiting calls."""

    async def close(self) -> None:
        """End every member; calls that still run end as broken."""


class InlineLane:
    """Runs the call on the loop itself: everything else waits. For the lesson."""

    def __init__(
        self, owner: LaneOwner, loop: asyncio.AbstractEventLoop, prepare: Callable[[], None]
    ) -> None:
        """Make a lane; `prepare` is called before every job."""
        self._owner, self._loop, self._prepare = owner, loop, prepare

    def ready(self) -> bool:
        """Return True: the loop is always there, that is the problem with it."""
        return True

    def start(self, call: Call) -> None:
        """Run `call` in the loop's next turn, while everything else on the loop waits."""
        call.slot = 0
        self._loop.call_soon(self._run, call)

    def _run(self, call: Call) -> None:
        if call.state is JobState.ABANDONED:  # cancelled in the same turn of the loop
            self._owner.ended(call, Outcome.CANCELLED, None)
            return
        report = call.report if call.on_progress is not None else ignore_report
        try:
            self._prepare()
        except Exception as ex:
            self._owner.ended(call, Outcome.ERROR, ex)
            return
        result, raised = execute(call.job.fn, call.args, call.kwargs, call.job.writable, report)
        if raised is not None:
            self._owner.ended(call, Outcome.ERROR, presentable(raised, call.job.name))
        else:
            self._owner.ended(call, Outcome.OK, result)

    def abandon(self, call: Call) -> None:
        """Do nothing: any code that could call this runs after the end of the call."""

    def request_members(self, calls: int) -> None:
        """Do nothing: there is one loop."""

    async def close(self) -> None:
        """Do nothing: the loop is not ours."""


def ignore_report(fraction: float, note: str) -> None:
    """Take a report of progress, for a submitter that has asked for none."""
