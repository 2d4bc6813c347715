"""The pool of one worker, as its submitters and its worker see it.

     run() --> admitted? --> Dispatcher --> lanes                     (dispatch.py)
                   | no
                   v
               QueueFull, DeadlineTooShort, PoolClosed, JobRefused

Admission is here: whether a call may enter, on which lane, until when. What
happens to it then is up to the dispatcher; how it runs, to the lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hybrid.config import CpuConfig
from hybrid.core.activity import Activity
from hybrid.core.departure import Departure, JobTimes
from hybrid.core.jobs.admission import admit
from hybrid.core.jobs.ticket import Outcome, Priority
from hybrid.errors import JobRefused, JobTimeout, PoolBroken, PoolClosed, QueueFull
from hybrid.pool.alarm import Alarm
from hybrid.pool.arena.arrays import ArenaArrays
from hybrid.pool.arena.worker_resources import WorkerResources
from hybrid.pool.call import Call, Progress
from hybrid.pool.dispatch import Dispatcher
from hybrid.pool.job import (
    LANES,
    Job,
    LaneName,
    declared_initializers,
    declared_jobs,
    find_function,
)
from hybrid.pool.lane import InlineLane
from hybrid.pool.process.process_lane import ProcessLane
from hybrid.pool.process.spawning import Spawner
from hybrid.pool.queue_line import LINES
from hybrid.pool.reporting import LoggingObserver, PoolObserver, PoolStatistics
from hybrid.pool.running import Preparation
from hybrid.pool.thread.thread_lane import ThreadLane
from hybrid.system.memory.permits import Permits
from hybrid.system.process.blas import set_blas_threads

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class Pool:
    """Runs the jobs of one worker; see the rules above."""

    def __init__(
        self,
        settings: CpuConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        permits: Permits | None = None,
        spawner: Spawner | None = None,
        resources: WorkerResources | None = None,
        observer: PoolObserver | None = None,
        start_timeout: float = 0.0,
        activity: Activity | None = None,
    ) -> None:
        """Open a pool without any process.

        Args:
            settings: what the operator has chosen.
            loop: the event loop that `run` is called on.
            permits: the right to run, shared by the cluster; None: no such limit.
            spawner: makes pool processes; None: there is no process lane.
            resources: the arena; None: arrays travel in frames.
            observer: is told what happens; None: the log is.
            start_timeout: seconds that a pool process may take to get ready, those of `warm`
                apart, before it is killed and replaced; 0: any time.
            activity: is told when calls and processes come or go.
        """
        self.loop = loop
        self.slots = max(1, settings.slots)  # 0: everything inline, one at a time anyway
        self._settings = settings
        self._observer: PoolObserver = observer or LoggingObserver()
        self._is_closed = False
        self._activity = activity or Activity()
        self._dispatcher = Dispatcher(
            self.slots, settings.queue, loop, permits, self._observer, settings.kill_grace
        )
        self._alarm = Alarm(loop, partial(self._dispatcher.withdraw, outcome=Outcome.TIMEOUT))
        self._arrays = ArenaArrays(resources if settings.slots else None, loop)
        self._preparation = Preparation(self._prepare)
        threads = ThreadLane(self._dispatcher, loop, self._preparation, self._observer.warned)
        self._processes: ProcessLane | None = None
        lanes = self._dispatcher.lanes
        lanes["inline"] = InlineLane(self._dispatcher, loop, self._preparation)
        if settings.slots:
            lanes["thread"] = threads
        if settings.slots and spawner is not None:
            lanes["process"] = self._processes = ProcessLane(
                self._dispatcher,
                loop,
                settings,
                spawner,
                self._arrays.blocks,
                self._observer,
                start_timeout,
                self._activity,
            )

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
            take_back = departure.on(partial(self._dispatcher.withdraw, call, Outcome.CANCELLED))
        try:
            return await future
        except asyncio.CancelledError:
            self._dispatcher.withdraw(call, Outcome.CANCELLED)
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
        if self._is_closed:
            raise PoolClosed(f"job {job.name} was not started: this worker is leaving")
        lane = self._choose_lane(job, lane)
        if deadline is None:
            deadline = self._settings.deadline or math.inf
        if math.isnan(deadline):  # no comparison would ever find it late
            raise ValueError("a deadline is a number of seconds, not nan")
        low = priority is Priority.LOW
        self._check_room(job, low, deadline)
        call = Call(
            job,
            args,
            kwargs,
            line=LINES[lane, not job.waits, low],
            now=monotonic(),
            deadline=deadline,
            future=future,
            on_progress=on_progress,
        )
        self._dispatcher.enter(call)
        if self._activity.is_resting:
            self._activity.begin()
        if deadline < math.inf:  # now, while its member wakes up
            self._alarm.watch(call, self._dispatcher.open_calls)
        return call

    def _choose_lane(self, job: Job, lane: LaneName | None) -> LaneName:
        """Return where `job` will run: the call decides, else the server, else the job."""
        wanted = lane or self._settings.lane
        if wanted == "auto":
            chosen = job.lane
        elif wanted in LANES:
            chosen = wanted
        else:
            raise JobRefused(f"there is no lane {wanted!r}; there are {', '.join(LANES)}")
        if not self._settings.slots:
            return "inline"
        if chosen == "process":
            if not job.is_importable:
                job.refuse_unless_importable()
            if self._processes is None:
                raise JobRefused(f"job {job.name} wants a pool process, and none can be made here")
        return chosen

    def _check_room(self, job: Job, low: bool, deadline: float) -> None:
        dispatcher = self._dispatcher
        if deadline <= 0.0:
            dispatcher.counters.outcomes[Outcome.TIMEOUT] += 1
            raise JobTimeout(job.name, deadline, "not started")
        queue = dispatcher.queue
        if not queue.length:
            return
        # A call for which a slot is free waits for a member or a permit, not in the queue.
        waiting = max(0, dispatcher.open_calls - self.slots)
        try:
            admit(waiting, queue.ahead_of(low), queue.limit, dispatcher.rate, deadline)
        except QueueFull:
            dispatcher.counters.outcomes[Outcome.SHED] += 1
            raise

    # -- life --------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make this process fit for jobs of its own; runs where the first one would."""
        if self._settings.slots:  # without a pool this may be the user's own script
            set_blas_threads(self._settings.blas_threads)
        for address in declared_initializers():
            find_function(address)()

    async def warm(self) -> None:
        """Have every process ready that a declared job will need, this one included.

        Raises:
            PoolBroken: one cannot get ready (an import or an initialiser fails).
        """
        wanted, has_slots = self._settings.lane, self._settings.slots > 0
        lanes = {job.lane if wanted == "auto" else wanted for job in declared_jobs()}
        if lanes - {"process"} or not has_slots:
            # Here, on the main thread: OpenBLAS obeys no other one once that has set a limit.
            try:
                self._preparation()
            except Exception as ex:
                raise PoolBroken(f"an initialiser of this worker raised {ex!r}") from ex
        if self._processes is not None and "process" in lanes:
            await self._processes.warm(self._settings.slots)

    async def broadcast(
        self, job: Job, args: tuple[Any, ...], *, deadline: float | None = None
    ) -> list[Any]:
        """Run `job` once in this worker and once in each of its pool processes.

        Returns:
            The results, this worker's first. A process that is not ready yet is
            left out; what every process needs belongs in an initialiser.
        """
        here = self.run(job, args, {}, lane="thread" if self._settings.slots else "inline")
        there = self._processes.broadcast(job, args) if self._processes is not None else []
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.gather(here, *there)
        except TimeoutError:
            raise JobTimeout(job.name, deadline or 0.0, "broadcast") from None

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialised array, in the arena if that is worth it."""
        return self._arrays.new(shape, dtype)

    def statistics(self) -> PoolStatistics:
        """Return a snapshot."""
        dispatcher, counters = self._dispatcher, self._dispatcher.counters
        return PoolStatistics(
            slots=self.slots,
            busy=len(dispatcher.running),
            queued=len(dispatcher.queue),
            abandoned=dispatcher.abandoned,
            abandoned_permits=dispatcher.abandoned_permits,
            processes=self._processes.ready_processes if self._processes is not None else 0,
            outcomes=MappingProxyType(dict(counters.outcomes)),
            killed=counters.killed,
            queue_wait_total=counters.queue_wait_total,
            run_total=counters.run_total,
        )

    def leave(self) -> None:
        """Give back the permits of abandoned work, now and later: this worker drains.

        Jobs are taken and run as before, until `close`.
        """
        self._dispatcher.leave()

    async def close(self, grace: float = 0.0) -> None:
        """Take no more jobs, let those that are here finish, end the members.

        Args:
            grace: seconds until what has not finished is withdrawn (JobCancelled).
        """
        self._is_closed = True
        dispatcher = self._dispatcher
        if grace > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(dispatcher.wait_until_idle(), grace)
        for call in [*dispatcher.queue, *dispatcher.running]:
            dispatcher.withdraw(call, Outcome.CANCELLED)
        for lane in dispatcher.lanes.values():
            await lane.close()
        dispatcher.close()
        self._arrays.close()
        self._alarm.close()
