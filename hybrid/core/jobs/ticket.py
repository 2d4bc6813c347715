"""The life of one job, as its pool sees it.

Rule 1: every change of state goes through `advance`; no other code assigns a state.
Rule 2: a job is *answered* at most once, but its work may outlive the answer:
        only ``ENDED`` gives its slot and its permit back. A pool that frees the
        slot when it merely stopped waiting runs more jobs than it has slots.
Rule 3: no I/O, no clock; times are monotonic seconds and passed in.

`mermaid()` draws the diagram in ARCHITECTURE.md from TRANSITIONS.
"""

from __future__ import annotations

from enum import Enum

from hybrid.core.fast_enum import FastEnum
from hybrid.errors import IllegalTransition


class JobState(FastEnum):
    """Where a job is in its life, and the collection it lives in."""

    WAITING = "waiting"  # in the AdmissionQueue; holds a place in line
    RUNNING = "running"  # on a member of a lane; holds a slot, perhaps a permit
    ABANDONED = "abandoned"  # answered without a result; its work still holds the slot
    ENDED = "ended"  # in no collection


class JobEvent(FastEnum):
    """What can happen to a job."""

    START = "start"  # a slot, a permit and a member are free
    WITHDRAW = "withdraw"  # deadline, cancellation, or its client has left
    RETURN = "return"  # its process died before it had begun: the next one will run it
    END = "end"  # the work is over: result, exception, or its process is dead


TRANSITIONS: dict[JobState, dict[JobEvent, JobState]] = {
    JobState.WAITING: {
        JobEvent.START: JobState.RUNNING,
        JobEvent.WITHDRAW: JobState.ENDED,  # it never ran: nothing to stop
    },
    JobState.RUNNING: {
        JobEvent.RETURN: JobState.WAITING,
        JobEvent.END: JobState.ENDED,
        JobEvent.WITHDRAW: JobState.ABANDONED,
    },
    JobState.ABANDONED: {
        JobEvent.END: JobState.ENDED,
        JobEvent.WITHDRAW: JobState.ABANDONED,  # the deadline passed, then the client left
    },
    JobState.ENDED: {
        JobEvent.WITHDRAW: JobState.ENDED,  # a timer or departure that came too late
    },
}


class Outcome(FastEnum):
    """How a job was answered; the label of the job counters."""

    OK = "ok"
    ERROR = "error"  # its own code raised
    TIMEOUT = "timeout"  # deadline
    CANCELLED = "cancelled"  # client left, submitter cancelled, pool closed
    SHED = "shed"  # refused by admission; it never had a ticket
    BROKEN = "broken"  # its pool process died


class Priority(Enum):
    """Which of the two lines a job waits in; FIFO inside each."""

    NORMAL = "normal"
    LOW = "low"  # runs only when no NORMAL job could


class Ticket:
    """A place in line, and the times of its journey (monotonic seconds).

    The pool's own ticket (`hybrid.pool.call.Call`) adds the function and the
    future; everything that decides about order or life is here.
    """

    __slots__ = ("deadline_at", "line", "number", "started_at", "state", "submitted_at")

    def __init__(self, line: int, submitted_at: float, deadline_at: float) -> None:
        self.line = line  # index of the AdmissionQueue line it waits in
        self.number = 0  # order of arrival, set when it enters the queue
        self.submitted_at = submitted_at
        self.deadline_at = deadline_at  # math.inf: none
        self.started_at = 0.0  # 0: it has not run
        self.state = JobState.WAITING

    def advance(self, event: JobEvent) -> JobState:
        """Move to the state that follows on `event`, and return it.

        Raises:
            IllegalTransition: the table has no such entry; a bug in the pool.
        """
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTransition(f"{event.name} while {self.state.name}") from None
        return self.state


def mermaid() -> str:
    """Return TRANSITIONS as a Mermaid state diagram."""
    edges = [
        f"    {state.value} --> {after.value}: {event.value}"
        for state, row in TRANSITIONS.items()
        for event, after in row.items()
    ]
    return "\n".join(["stateDiagram-v2", *edges])
