"""The pool of one worker: admission, slots, permits, deadlines. The lanes do the work.

     run() --> admit --> AdmissionQueue --> _dispatch --> Lane.start --> a member
                 | full                        ^                           |
                 v                             |   slot, permit            v
             QueueFull                         +---------------------- ended()

Rule 1: one queue and `slots` slots, shared by all lanes. A call holds its slot
        and its permit from START to END, also when nobody waits for it any more.
Rule 2: no call waits while a slot, a permit and a member for it are free.
Rule 3: only the event-loop thread is in here; there is no lock.
Rule 4: a call is answered exactly once, by `_answer`; afterwards whatever
        happens to its work concerns the slot only.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from hybrid.config import CpuConfig
from hybrid.core.admission import AdmissionQueue, ServiceRate, admit
from hybrid.core.deadlines import Deadlines
from hybrid.core.ticket import JobEvent, JobState, Outcome, Priority
from hybrid.errors import JobCancelled, JobRefused, JobTimeout, PoolBroken, PoolClosed, QueueFull
from hybrid.pool.arrays import ArrayHouse
from hybrid.pool.call import Call, JobTimes, Progress
from hybrid.pool.client import Departure
from hybrid.pool.gate import Gate
from hybrid.pool.hatchery import Hatchery
from hybrid.pool.job import (
    LANES,
    Job,
    LaneName,
    declared_initializers,
    declared_jobs,
    find_function,
)
from hybrid.pool.lanes import InlineLane, Lane, MemberGone
from hybrid.pool.observer import LoggingObserver, PoolObserver
from hybrid.pool.processes import ProcessLane
from hybrid.pool.resources import WorkerResources
from hybrid.pool.statistics import Counters, PoolStatistics
from hybrid.pool.threads import ThreadLane
from hybrid.system.blas import set_blas_threads
from hybrid.system.permits import Permits

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# A kind of call is what decides whether it can start: its lane, and whether it
# takes a permit (odd kinds do). AdmissionQueue has two lines per kind.
_KINDS = 2 * len(LANES)
_FIRST_KIND: dict[LaneName, int] = {name: 2 * index for index, name in enumerate(LANES)}


class Pool:
    """Runs the jobs of one worker; see the rules above."""

    def __init__(
        self,
        settings: CpuConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        permits: Permits | None = None,
        hatchery: Hatchery | None = None,
        resources: WorkerResources | None = None,
        observer: PoolObserver | None = None,
    ) -> None:
        self.loop = loop
        self.slots = max(1, settings.slots)  # 0: everything inline, one at a time anyway
        self._settings = settings
        self._observer: PoolObserver = observer or LoggingObserver()
        self._queue: AdmissionQueue[Call] = AdmissionQueue(_KINDS, settings.queue)
        self._deadlines: Deadlines[Call] = Deadlines()
        self._alarm: asyncio.TimerHandle | None = None  # set for `_alarm_at`
        self._alarm_at = math.inf  # monotonic s
        self._rate = ServiceRate(self.slots)
        self._counters = Counters()
        self._running: set[Call] = set()  # RUNNING or ABANDONED; at most `slots`
        self._abandoned = 0
        self._over: asyncio.Event | None = None  # exists: closing. Set: nothing to do any more
        self._arrays = ArrayHouse(resources if settings.slots else None, loop)
        self._threads = ThreadLane(self, loop, self._prepare_threads)
        self._processes: ProcessLane | None = None
        self._lanes: dict[LaneName, Lane] = {"inline": InlineLane(self, loop)}
        if settings.slots:
            self._lanes["thread"] = self._threads
        if settings.slots and hatchery is not None:
            self._processes = ProcessLane(
                self, loop, settings, hatchery, self._arrays.blocks, self._observer
            )
            self._lanes["process"] = self._processes
        self._gate = Gate(permits, loop, self._dispatch)

    # -- for the submitter -------------------------------------------------------

    async def run(
        self,
        job: Job,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        deadline: float | None = None,
        lane: LaneName | None = None,
        priority: Priority = Priority.NORMAL,
        departure: Departure | None = None,
        on_progress: Progress | None = None,
        times: list[JobTimes] | None = None,
    ) -> Any:
        """Run `job` and return its result; the contract is that of `hybrid.submit`."""
        future = self.loop.create_future()
        call = self._admit(job, args, kwargs, deadline, lane, priority, on_progress, future)
        take_back = None
        if departure is not None:
            take_back = departure.on(partial(self._withdraw, call, Outcome.CANCELLED))
        try:
            return await future
        except asyncio.CancelledError:
            self._withdraw(call, Outcome.CANCELLED)
            raise
        finally:
            if take_back is not None:
                take_back()
            if times is not None and call.started_at:
                times.append(call.times(monotonic()))

    def _admit(
        self,
        job: Job,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline: float | None,
        lane: LaneName | None,
        priority: Priority,
        on_progress: Progress | None,
        future: asyncio.Future[Any],
    ) -> Call:
        if self._over is not None:
            raise PoolClosed(f"job {job.name} was not started: this worker is leaving")
        lane = self._choose_lane(job, lane)
        if deadline is None:
            deadline = self._settings.deadline or math.inf
        kind = _FIRST_KIND[lane] if job.waits else _FIRST_KIND[lane] + 1
        low = priority is Priority.LOW
        if len(self._running) + len(self._queue) >= self.slots:
            self._check_room(low, deadline)
        call = Call(
            job,
            args,
            kwargs,
            lane=lane,
            line=2 * kind + low,
            now=monotonic(),
            deadline=deadline,
            future=future,
            on_progress=on_progress,
        )
        self._queue.enter(call)
        if deadline < math.inf:
            self._watch_deadline(call)
        self._dispatch()
        return call

    def _choose_lane(self, job: Job, lane: LaneName | None) -> LaneName:
        """Return where `job` will run: the call decides, else the server, else the job."""
        wanted = lane or self._settings.lane
        chosen = next((name for name in LANES if name == wanted), None)
        if chosen is None:
            if wanted != "auto":
                raise JobRefused(f"there is no lane {wanted!r}; there are {', '.join(LANES)}")
            chosen = job.lane
        if not self._settings.slots:
            return "inline"
        if chosen == "process":
            job.refuse_unless_importable()
            if self._processes is None:
                raise JobRefused(f"job {job.name} wants a pool process, and none can be made here")
        return chosen

    def _check_room(self, low: bool, deadline: float) -> None:
        # A slot that is free (its member is on its way, or a permit) is no place in line.
        waiting = len(self._running) + len(self._queue) - self.slots
        ahead = self._queue.ahead_of(low)
        try:
            admit(waiting, ahead, self._settings.queue, self._rate, deadline)
        except QueueFull:
            self._counters.outcomes[Outcome.SHED] += 1
            raise

    # -- dispatch ----------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start whatever can start (rule 2)."""
        kinds = None
        while len(self._queue) and len(self._running) < self.slots:
            if kinds is None:
                kinds = self._startable()
            call = self._queue.next(kinds)
            if call is None:
                break
            kind = call.line >> 1
            if kind & 1:
                permit = self._gate.take(call.submitted_at)
                if permit is None:  # nobody who needs one can start now
                    kinds = [kind for kind in kinds if not kind & 1]
                    continue
                call.permit = permit
            if not self._start(call) or not self._lanes[call.lane].ready():
                kinds = None
        if len(self._queue):
            self._wait()
        else:
            self._gate.waits_since(0.0)

    def _startable(self) -> list[int]:
        return [
            kind
            for name, lane in self._lanes.items()
            if lane.ready()
            for kind in (_FIRST_KIND[name], _FIRST_KIND[name] + 1)
        ]

    def _start(self, call: Call) -> bool:
        """Start the waiting `call`; return whether it runs."""
        try:
            self._lanes[call.lane].start(call)
        except MemberGone:  # it keeps its place, another member will come
            self._give_back_permit(call)
            return False
        except Exception as ex:  # its arguments cannot travel
            self._leave(call)
            self._answer(call, Outcome.ERROR, ex)
            return False
        self._queue.leave(call)
        call.advance(JobEvent.START)
        call.started_at = monotonic()
        self._counters.queue_wait_total += call.started_at - call.submitted_at
        self._running.add(call)
        return True

    def _wait(self) -> None:
        """Some calls have to wait: for a slot, a permit, or a member that is to come."""
        free = self.slots - len(self._running)
        if self._processes is not None and free:
            waiting = self.waiting("process")
            if waiting:
                self._processes.want(min(waiting, free))
        # Who waits for a slot or a member as well must not be rung for a permit.
        kinds = [kind for kind in self._startable() if kind & 1] if free else ()
        self._gate.waits_since(self._queue.oldest(kinds))

    # -- from the lanes ----------------------------------------------------------

    def ended(self, call: Call, outcome: Outcome, value: Any) -> None:
        """The work of `call` is over: its slot is free, and perhaps it is answered."""
        now = monotonic()
        is_awaited = call.state is JobState.RUNNING
        call.advance(JobEvent.END)
        self._running.remove(call)
        call.ended_at = now
        run = now - call.started_at
        self._counters.run_total += run
        self._rate.ended(now, run, saturated=bool(len(self._queue)))
        if is_awaited:
            late = now > call.deadline_at  # the alarm has not rung yet: an inline job
            self._answer(call, Outcome.TIMEOUT if late else outcome, value)
        else:
            self._abandoned -= 1
        self._release(call)
        self._dispatch()
        self._check_over()

    def returned(self, call: Call) -> None:
        """The member of `call` died before the work had begun: it is next in line again."""
        if call.state is JobState.ABANDONED:
            self.ended(call, Outcome.CANCELLED, None)
            return
        call.advance(JobEvent.RETURN)
        self._running.remove(call)
        self._counters.queue_wait_total -= call.started_at - call.submitted_at
        call.started_at = 0.0
        self._give_back_permit(call)
        self._queue.enter_again(call)
        self._dispatch()

    def member_free(self) -> None:
        """A lane can start a call again."""
        self._dispatch()

    def killed(self, call: Call) -> None:
        """The process of `call` was killed because of it."""
        self._counters.killed += 1

    def waiting(self, lane: LaneName) -> int:
        """Return how many calls of that lane wait."""
        kind = _FIRST_KIND[lane]
        return self._queue.waiting(kind) + self._queue.waiting(kind + 1)

    def fail_waiting(self, lane: LaneName, error: PoolBroken) -> None:
        """The lane gets no members: answer its waiting calls, unless one can still serve them."""
        if self._processes is not None and self._processes.ready_processes:
            return
        for call in [call for call in self._queue if call.lane == lane]:
            self._leave(call)
            self._answer(call, Outcome.BROKEN, error)
        self._check_over()

    # -- ends --------------------------------------------------------------------

    def _answer(self, call: Call, outcome: Outcome, value: Any) -> None:
        """Tell the submitter (rule 4)."""
        self._counters.outcomes[outcome] += 1
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

    def _withdraw(self, call: Call, outcome: Outcome) -> None:
        """Answer `call` without its result: deadline, cancellation, client gone."""
        reason = JobCancelled(f"job {call.job.name} was withdrawn: nobody waits for it any more")
        if call.state is JobState.WAITING:
            self._leave(call)
            self._answer(call, outcome, reason)
            self._check_over()
        elif call.state is JobState.RUNNING:
            call.advance(JobEvent.WITHDRAW)
            self._abandoned += 1
            self._answer(call, outcome, reason)
            self._lanes[call.lane].abandon(call)

    def _leave(self, call: Call) -> None:
        """Take a waiting call out of the line; it never runs."""
        self._queue.leave(call)
        call.advance(JobEvent.WITHDRAW)
        self._release(call)
        if not len(self._queue):
            self._gate.waits_since(0.0)

    def _release(self, call: Call) -> None:
        """Give back what `call` holds."""
        self._give_back_permit(call)
        call.forget()

    def _give_back_permit(self, call: Call) -> None:
        if call.permit >= 0:
            permit, call.permit = call.permit, -1
            self._gate.give_back(permit)

    # -- deadlines ---------------------------------------------------------------

    def _watch_deadline(self, call: Call) -> None:
        self._deadlines.add(call)
        if call.deadline_at < self._alarm_at:
            self._set_alarm(call.deadline_at)
        self._deadlines.forget_ended(len(self._queue) + len(self._running))

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None
        if at < math.inf:
            self._alarm = self.loop.call_later(max(0.0, at - monotonic()), self._on_alarm)

    def _on_alarm(self) -> None:
        for call in self._deadlines.due(monotonic()):
            self._withdraw(call, Outcome.TIMEOUT)
        self._set_alarm(self._deadlines.next_at())

    def _prepare_threads(self) -> None:
        """Make this process fit for thread jobs; runs on the first pool thread."""
        set_blas_threads(self._settings.blas_threads)
        for address in declared_initializers():
            find_function(address)()

    # -- life --------------------------------------------------------------------

    async def warm(self) -> None:
        """Have every process ready that a declared job will need.

        Raises:
            PoolBroken: a pool process cannot get ready (an import fails).
        """
        needs_processes = self._settings.lane == "process" or (
            self._settings.lane == "auto" and any(job.lane == "process" for job in declared_jobs())
        )
        if self._processes is not None and needs_processes:
            await self._processes.warm(self._settings.slots)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialised array, in the arena if that is worth it."""
        return self._arrays.new(shape, dtype)

    def statistics(self) -> PoolStatistics:
        """Return a snapshot."""
        counters, oldest = self._counters, self._queue.oldest(range(_KINDS))
        return PoolStatistics(
            slots=self.slots,
            busy=len(self._running),
            queued=len(self._queue),
            abandoned=self._abandoned,
            processes=self._processes.ready_processes if self._processes is not None else 0,
            threads=self._threads.size,
            oldest_wait=monotonic() - oldest if oldest else 0.0,
            waiting_since=oldest,
            service_rate=self._rate.per_second,
            killed=counters.killed,
            queue_wait_total=counters.queue_wait_total,
            run_total=counters.run_total,
            **{outcome.value: count for outcome, count in counters.outcomes.items()},
        )

    def _check_over(self) -> None:
        if self._over is not None and not len(self._queue) and not self._running:
            self._over.set()

    async def close(self, grace: float = 0.0) -> None:
        """Take no more jobs, let those that are here finish, end the members.

        Args:
            grace: seconds until what has not finished is withdrawn (JobCancelled).
        """
        if self._over is None:
            self._over = asyncio.Event()
        self._check_over()
        if grace > 0 and not self._over.is_set():
            await asyncio.wait([self.loop.create_task(self._over.wait())], timeout=grace)
        for call in [*self._queue, *self._running]:
            self._withdraw(call, Outcome.CANCELLED)
        for lane in self._lanes.values():
            await lane.close()
        self._gate.close()
        self._arrays.close()
        self._set_alarm(math.inf)
