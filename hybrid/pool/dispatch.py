"""Which call runs next, and what becomes of it. The heart of a pool.

     enter() --> AdmissionQueue --> dispatch() --> Lane.start --> a member
                                       ^                            |
                                       |   slot, permit             v
     withdraw() --> answered           +----------------------- ended()

Rule 1: one queue and `slots` slots, shared by all lanes. A call holds its slot
        and its permit from START to END, also when its answer is no longer awaited.
Rule 2: no call waits while a slot, a permit and a member for it are free.
Rule 3: only the event-loop thread runs this code, so it needs no lock.
Rule 4: a call is answered exactly once, by `_answer`; what its work does
        afterwards concerns the slot only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import Any

from hybrid.core.jobs.admission import AdmissionQueue, ServiceRate
from hybrid.core.jobs.ticket import JobEvent, JobState, Outcome
from hybrid.errors import JobCancelled, JobTimeout, PoolBroken
from hybrid.pool.abandoned import AbandonedWork
from hybrid.pool.call import Call
from hybrid.pool.gate import PermitGate
from hybrid.pool.job import LANES, LaneName
from hybrid.pool.lane import Lane, MemberGone
from hybrid.pool.queue_line import KINDS, kinds_of
from hybrid.pool.reporting import Counters, PoolObserver
from hybrid.system.memory.permits import Permits

_WITHOUT_PROCESSES: tuple[LaneName, ...] = ("inline", "thread")  # these lanes are always ready

# What can start, by whether a pool process is idle and whether a permit is free. Tables,
# because every end of a call asks.
_STARTABLE = {
    (has_process, has_permit): kinds_of(
        LANES if has_process else _WITHOUT_PROCESSES, (False, True) if has_permit else (False,)
    )
    for has_process in (False, True)
    for has_permit in (False, True)
}
_KINDS_OF_LANE = {lane: kinds_of((lane,)) for lane in LANES}
# What lacks nothing but a permit, by whether a pool process is idle.
_LACKING_A_PERMIT = {
    False: kinds_of(_WITHOUT_PROCESSES, needs_permit=(True,)),
    True: kinds_of(needs_permit=(True,)),
}


class Dispatcher:
    """Queue, slots and permits of one pool; the `LaneOwner` of its lanes."""

    def __init__(
        self,
        slots: int,
        places: int,
        loop: asyncio.AbstractEventLoop,
        permits: Permits | None,
        observer: PoolObserver,
        grace: float,
    ) -> None:
        """Make a dispatcher without lanes.

        Args:
            slots: calls at once.
            places: calls in line; 0: no limit.
            loop: the worker's.
            permits: of the cluster; None: no limit there.
            observer: is told when abandoned work keeps other jobs from starting.
            grace: seconds that abandoned work may go on.
        """
        self.slots = slots
        self.lanes: dict[LaneName, Lane] = {}  # filled by the pool before the first call
        self.queue: AdmissionQueue[Call] = AdmissionQueue(KINDS, places)
        self.running: set[Call] = set()  # RUNNING or ABANDONED; at most `slots`
        self.abandoned = 0  # of them, ABANDONED
        self.rate = ServiceRate(slots)
        self.counters = Counters()
        self._idle_event: asyncio.Event | None = None  # of `wait_until_idle`
        self._slot_missed_at = 0.0  # when a job last gave up waiting for a slot
        self._abandoned_work = AbandonedWork(self, loop, grace, observer)
        self._gate = PermitGate(permits, loop, self.dispatch)

    @property
    def open_calls(self) -> int:
        """Calls that wait or run."""
        return len(self.running) + self.queue.length

    @property
    def _is_idle(self) -> bool:
        """Whether every call is answered; abandoned work may still run."""
        return len(self.running) == self.abandoned and not self.queue.length

    async def wait_until_idle(self) -> None:
        """Return when every call is answered; abandoned work may still run."""
        self._idle_event = asyncio.Event()
        self._check_idle()
        await self._idle_event.wait()

    def enter(self, call: Call) -> None:
        """Start `call` at once, or give it its place in line."""
        if (
            not self.queue.length
            and len(self.running) < self.slots
            and self.lanes[call.lane].ready()
            and self._take_permit(call)
            and self._start(call, in_line=False)
        ):
            return
        self.queue.enter(call)
        self.dispatch()

    @property
    def abandoned_permits(self) -> int:
        """Permits that abandoned calls hold."""
        if not self.abandoned:
            return 0
        return sum(c.permit >= 0 and c.state is JobState.ABANDONED for c in self.running)

    def leave(self) -> None:
        """Give back the permits of abandoned work, now and later: this worker drains."""
        self._abandoned_work.start_draining()

    def close(self) -> None:
        """Use the permits no more."""
        self._abandoned_work.close()
        self._gate.close()

    def dispatch(self) -> None:
        """Start whatever can start (rule 2)."""
        queue = self.queue
        if not queue.length:
            self._gate.waits_since(0.0)
            return
        has_process, has_permit = self._has_idle_process(), True
        while queue.length and len(self.running) < self.slots:
            call = queue.next(_STARTABLE[has_process, has_permit])
            if call is None:
                break
            if not self._take_permit(call):  # so no other call can have one
                has_permit = False
                continue
            self._start(call, in_line=True)
            if not self.lanes[call.lane].ready():  # the process lane; the others always are
                has_process = False
        if queue.length:
            self._wait()
        else:
            self._gate.waits_since(0.0)

    def _has_idle_process(self) -> bool:
        lane = self.lanes.get("process")
        return lane is not None and lane.ready()

    def _take_permit(self, call: Call) -> bool:
        """Take the permit that `call` needs; return whether it has what it needs."""
        if not call.needs_permit:
            return True
        permit = self._gate.take(call.submitted_at)
        if permit is None:
            return False
        call.permit = permit
        return True

    def _start(self, call: Call, in_line: bool) -> bool:
        """Start `call`, which is in line or has just come; return False if no member took it."""
        now = monotonic()  # the work may begin before `start` returns
        try:
            self.lanes[call.lane].start(call)
        except MemberGone:  # it keeps its place, another member will come
            self._give_back_permit(call)
            return False
        except Exception as ex:  # its arguments cannot travel
            if in_line:
                self.queue.leave(call)
            call.advance(JobEvent.WITHDRAW)
            self._release(call)
            self._answer(call, Outcome.ERROR, ex)
            return True
        if in_line:
            self.queue.leave(call)
        call.advance(JobEvent.START)
        call.started_at = now
        self.counters.queue_wait_total += call.started_at - call.submitted_at
        self.running.add(call)
        return True

    def _wait(self) -> None:
        """Some calls have to wait: for a slot, a permit, or a member that is to come.

        The other workers leave their permits to the oldest call that is published here. A
        call that lacks a slot or a process as well could not use one: publishing it would
        let permits lie idle, and ring this worker for nothing.
        """
        free = self.slots - len(self.running)
        waiting = self.waiting("process")
        if waiting and free:
            self.lanes["process"].request_members(min(waiting, free))
        kinds = _LACKING_A_PERMIT[self._has_idle_process()] if free else ()
        self._gate.waits_since(self.queue.oldest(kinds))

    # -- from the lanes ----------------------------------------------------------

    def ended(self, call: Call, outcome: Outcome, value: Any) -> None:
        """The work of `call` is over: its slot is free, and perhaps it is answered."""
        now = monotonic()
        is_awaited = call.state is JobState.RUNNING
        call.advance(JobEvent.END)
        self.running.remove(call)
        call.ended_at = now
        run = now - call.started_at
        self.counters.run_total += run
        self.rate.ended(now, run, saturated=bool(self.queue.length))
        if is_awaited:
            late = now > call.deadline_at  # the alarm has not rung yet: an inline job
            self._answer(call, Outcome.TIMEOUT if late else outcome, value)
        else:
            self.abandoned -= 1
            self._abandoned_work.remove(call)
        self._release(call)
        self.dispatch()
        self._check_idle()

    def returned(self, call: Call) -> None:
        """The member of `call` died before the work had begun: it is next in line again."""
        if call.state is JobState.ABANDONED:
            self.ended(call, Outcome.CANCELLED, None)
            return
        call.advance(JobEvent.RETURN)
        self.running.remove(call)
        self.counters.queue_wait_total -= call.started_at - call.submitted_at
        call.started_at = 0.0
        self._give_back_permit(call)
        self.queue.enter_again(call)
        self.dispatch()

    def member_free(self) -> None:
        """A lane can start a call again."""
        self.dispatch()

    def killed(self, call: Call) -> None:
        """The process of `call` was killed because of it."""
        self.counters.killed += 1

    def waiting(self, lane: LaneName) -> int:
        """Return how many calls of that lane wait."""
        return sum(self.queue.waiting(kind) for kind in _KINDS_OF_LANE[lane])

    def fail_waiting(self, lane: LaneName, error: PoolBroken) -> None:
        """The lane gets no members: answer its waiting calls."""
        for call in [call for call in self.queue if call.lane == lane]:
            self._withdraw_waiting(call)
            self._answer(call, Outcome.BROKEN, error)
        self._check_idle()

    # -- ends --------------------------------------------------------------------

    def _answer(self, call: Call, outcome: Outcome, value: Any) -> None:
        """Tell the submitter (rule 4)."""
        self.counters.outcomes[outcome] += 1
        # Why: the heap of deadlines may hold the call for long, and so its result.
        future, call.future = call.future, None
        if future is None or future.done():  # its submitter was cancelled: no answer needed
            return
        if outcome is Outcome.OK:
            future.set_result(value)
        elif outcome is Outcome.TIMEOUT:
            where = "running" if call.started_at else "waiting in the queue"
            future.set_exception(JobTimeout(call.job.name, call.deadline, where))
        else:
            future.set_exception(value)

    def withdraw(self, call: Call, outcome: Outcome) -> None:
        """Answer `call` without its result: deadline, cancellation, client gone."""
        reason = JobCancelled(f"job {call.job.name} was withdrawn: its result is no longer wanted")
        if call.state is JobState.WAITING:
            self._note_what_is_missed(call)
            self._withdraw_waiting(call)
            self._answer(call, outcome, reason)
            self._check_idle()
        elif call.state is JobState.RUNNING:
            call.advance(JobEvent.WITHDRAW)
            self.abandoned += 1
            self._answer(call, outcome, reason)
            self.lanes[call.lane].abandon(call)
            if call.lane == "thread":  # the other lanes end it by themselves
                self._abandoned_work.add(call)
            self._check_idle()

    # -- what abandoned work withholds from other jobs --------------------------------------

    def _note_what_is_missed(self, call: Call) -> None:
        """Note that `call` has waited in vain, and for what."""
        if len(self.running) >= self.slots:
            self._slot_missed_at = monotonic()
        elif call.needs_permit and self.lanes[call.lane].ready():
            self._gate.note_missed_permit()

    def misses_slot(self, before: float, after: float) -> bool:
        """Return whether a job waits for a slot since `before`, or gave up later than `after`."""
        oldest = self.queue.oldest(range(KINDS))
        is_waiting = len(self.running) >= self.slots and 0 < oldest <= before
        return is_waiting or self._slot_missed_at > after

    def misses_permit(self, before: float, after: float) -> bool:
        """Return the same for a permit, in the whole cluster."""
        return self._gate.is_permit_missed(before, after)

    def give_back_permits(self, calls: Iterable[Call]) -> None:
        """Give back what permits `calls` hold; their work goes on."""
        for call in calls:
            self._give_back_permit(call)
        self.dispatch()

    def _withdraw_waiting(self, call: Call) -> None:
        """Take a waiting call out of the line; it never runs."""
        self.queue.leave(call)
        call.advance(JobEvent.WITHDRAW)
        self._release(call)
        if not self.queue.length:
            self._gate.waits_since(0.0)

    def _release(self, call: Call) -> None:
        """Give back what `call` holds."""
        self._give_back_permit(call)
        call.drop_arguments()

    def _give_back_permit(self, call: Call) -> None:
        if call.permit >= 0:
            permit, call.permit = call.permit, -1
            self._gate.give_back(permit)

    def _check_idle(self) -> None:
        if self._idle_event is not None and self._is_idle:
            self._idle_event.set()
