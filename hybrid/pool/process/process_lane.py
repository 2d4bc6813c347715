"""The process lane, the worker's half: pool processes of this worker.

     I/O worker                           |   pool process k
                                          |
     start(call) --> idle ProcessLink -----------+-> member.py: fn(*args)
          ^                               |        |
     ended(call) <-- ProcessLink <---------------+-- result, exception
          |                               |
     a link that is lost costs its one call; another process takes its place

Rule 1: the lane wants as many processes as it ever needed; one that dies is
        replaced, at a bounded rate, without waiting for the next job.
Rule 2: a process that leaves by plan (its share is done) is replaced first and
        let go afterwards; one at a time, so that equal processes started at
        the same moment do not all leave at the same moment.
Rule 3: an abandoned call has `kill_grace` seconds to end by itself.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from functools import partial
from typing import Any

from hybrid.config import CpuConfig
from hybrid.core.activity import Activity
from hybrid.core.jobs.ticket import Outcome
from hybrid.core.jobs.token_bucket import ReplacementRate
from hybrid.errors import JobError, PoolBroken
from hybrid.pool.arena.blocks import Blocks
from hybrid.pool.call import Call
from hybrid.pool.job import Job, declared_initializers, declared_jobs
from hybrid.pool.lane import LaneOwner, MemberGone
from hybrid.pool.process.answers import read_answer
from hybrid.pool.process.broadcasts import Broadcasts
from hybrid.pool.process.pickling import PickledFrame
from hybrid.pool.process.pool_messages import Failure, Note, ProcessHello, Raised
from hybrid.pool.process.process_link import LinkState, ProcessLink
from hybrid.pool.process.spawning import Spawner
from hybrid.pool.queue_line import LINES
from hybrid.pool.reporting import PoolObserver

_REFILL = 2.0  # replacements per second, in the long run
_QUARANTINE = 256 * 1024 * 1024  # bytes kept by a process's jobs before it is replaced
_SLOW_IMPORT = 2.0  # s; long enough to surprise the author; every pool process pays it
_STACKS = 0.2  # s for a process to write its stacks before it is killed
_BROADCASTS = LINES["process", False, False]  # they are never in line: `Broadcasts` keeps them
_JITTER = 0.2  # share added to their limits, so that processes leave at different times


class ProcessLane:
    """Processes of one pool."""

    def __init__(
        self,
        owner: LaneOwner,
        loop: asyncio.AbstractEventLoop,
        settings: CpuConfig,
        spawner: Spawner,
        blocks: Blocks | None,
        observer: PoolObserver,
        start_timeout: float = 0.0,
        activity: Activity | None = None,
    ) -> None:
        self._activity = activity or Activity()  # is told when a process comes or goes
        self._start_timeout = start_timeout  # s; 0: a process may take any time to get ready
        self._owner, self._loop, self._settings = owner, loop, settings
        self._spawner, self._blocks, self._observer = spawner, blocks, observer
        self._broadcasts = Broadcasts()
        self._links: list[ProcessLink] = []  # every link that is not gone
        self._idle: list[ProcessLink] = []  # the last one used is the next one used
        self._target = 0  # processes wanted (rule 1)
        self._spawning: set[asyncio.Task[None]] = set()
        self._leaving: ProcessLink | None = None  # will be let go when its replacement is ready
        self._rate = ReplacementRate(max(4, 3 * settings.slots), _REFILL)
        self._later: asyncio.TimerHandle | None = None  # of `_grow`, when the rate is used up
        self._warming: asyncio.Future[None] | None = None  # what `warm` awaits
        self._has_warned_of_imports = False
        self._has_warned_of_refusal = False  # since there was a process the last time
        self._is_closing = False

    # -- for the pool ------------------------------------------------------------

    @property
    def ready_processes(self) -> int:
        """Processes that have said READY."""
        return sum(link.state is not LinkState.STARTING for link in self._links)

    @property
    def _asked_for(self) -> int:
        """Processes that are not a link yet.

        Why not the size of the set: a task that is done is a link already, and leaves the set
        one turn of the loop later. A death noticed in between would not be replaced.
        """
        return sum(not task.done() for task in self._spawning)

    def ready(self) -> bool:
        """Return whether a process is idle."""
        return bool(self._idle)

    def start(self, call: Call) -> None:
        """Send `call` to an idle process."""
        while self._idle:
            link = self._idle.pop()
            try:
                link.run(call)
            except JobError:
                self._release_arguments(link)
                self._idle.append(link)
                raise
            except MemberGone:  # `link_lost` has been called
                continue
            return
        raise MemberGone

    def abandon(self, call: Call) -> None:
        """Stop the work of `call` after the grace; its process dies with it (rule 3)."""
        link = next((link for link in self._links if link.call is call), None)
        if link is not None:
            self._loop.call_later(self._settings.kill_grace, self._kill, link, call)

    def _kill(self, link: ProcessLink, call: Call) -> None:
        if link.kill_if_runs(call):
            self._owner.killed(call)
            self._observer.happened("pool process killed", pid=link.pid, job=call.job.name)

    def request_members(self, calls: int) -> None:
        """Have enough processes for `calls` waiting calls, up to the slots.

        The dispatcher calls this whenever calls wait, many times while one process is
        being forked and imports. So processes that were asked for and those that start
        count as members already; without that, every call would ask for one more.
        """
        starting = sum(link.state is LinkState.STARTING for link in self._links)
        missing = calls - starting - self._asked_for - len(self._idle)
        if missing > 0:
            wanted = len(self._links) + self._asked_for + missing
            self._target = min(max(self._target, wanted), self._settings.slots)
            self._grow()

    async def warm(self, processes: int) -> None:
        """Return when this number of processes is ready.

        Raises:
            PoolBroken: one could not get ready.
        """
        self._target = min(processes, self._settings.slots)
        self._warming = self._loop.create_future()
        self._grow()
        self._check_warm()
        try:
            await self._warming
        finally:
            self._warming = None

    def _check_warm(self, error: PoolBroken | None = None) -> None:
        waiter = self._warming
        if waiter is None or waiter.done():
            return
        if error is not None:
            waiter.set_exception(error)
        elif self.ready_processes >= self._target:
            waiter.set_result(None)

    async def close(self) -> None:
        """Let every process go; kill those that run something."""
        self._is_closing = True
        if self._later is not None:
            self._later.cancel()
        for task in self._spawning:
            task.cancel()
        await asyncio.gather(*self._spawning, return_exceptions=True)
        for link in tuple(self._links):
            call = link.call
            if call is not None:
                link.kill()
            link.close()
            self._drop(link)
            self._broadcasts.lost(link)
            gone = PoolBroken("the pool was closed first")
            if call is not None and not self._broadcasts.answered(call, Outcome.BROKEN, gone):
                self._owner.ended(call, Outcome.CANCELLED, None)
        self._idle.clear()

    # -- growing -----------------------------------------------------------------

    def _grow(self) -> None:
        """Ask for the processes that are missing, as fast as the rate allows.

        A job that kills its process at once would otherwise have the primary fork as fast
        as it can, for every worker. What the rate does not allow now is tried again by one
        timer; one per death would multiply.
        """
        self._later = None
        extra = 1 if self._leaving is not None else 0  # rule 2: replacement first
        while len(self._links) + self._asked_for < self._target + extra:
            if self._is_closing:
                return
            wait = self._rate.take(time.monotonic())
            if wait > 0:
                self._observer.happened("pool process delayed", seconds=f"{wait:.2f}")
                self._grow_later(wait)
                return
            task = self._loop.create_task(self._spawn())
            self._spawning.add(task)
            task.add_done_callback(self._spawning.discard)

    def _grow_later(self, seconds: float) -> None:
        if self._later is None and not self._is_closing:
            self._later = self._loop.call_later(seconds, self._grow)

    async def _spawn(self) -> None:
        asked_at = time.monotonic()
        try:
            spawned = await self._spawner.spawn()
        except PoolBroken as ex:
            if not self._has_warned_of_refusal:
                self._has_warned_of_refusal = True
                self._observer.warned(f"{ex}; it is asked for again")
            self._check_warm(ex)
            self._fail_waiting(ex)
            self._grow_later(1 / _REFILL)
            return
        self._has_warned_of_refusal = False
        loan = self._blocks.lend_region() if self._blocks is not None else None
        used = {link.number for link in self._links}
        number = next(n for n in range(len(used) + 1) if n not in used)
        link = ProcessLink(number, spawned, self, self._loop, loan, asked_at)
        self._links.append(link)
        jobs = tuple(job.address for job in declared_jobs() if job.lane == "process")
        more = 1.0 + _JITTER * random.random()
        share, grown = int(self._settings.max_jobs * more), int(self._settings.max_rss * more)
        region = loan.info() if loan is not None else None
        link.send_hello(ProcessHello(jobs, declared_initializers(), share, grown, region))
        # Not while the worker itself starts: a worker that loads for minutes is slow, not dead.
        if self._start_timeout and self._warming is None:
            self._loop.call_later(self._start_timeout, self._end_late_start, link)

    def _end_late_start(self, link: ProcessLink) -> None:
        """Replace a process that hangs while it gets ready: calls would wait for it without end."""
        if link.state is LinkState.STARTING:
            self._observer.warned(
                f"pool process {link.pid} is not ready after {self._start_timeout:g} s "
                f"(--boot-timeout): it is killed and replaced; where it stands is in the log, "
                f"unless it is stopped"
            )
            link.ask_for_stacks()
            self._loop.call_later(_STACKS, link.kill)

    def _fail_waiting(self, error: PoolBroken) -> None:
        """Let waiting calls fail if no process is there or on its way to serve them."""
        if not self._links:
            self._owner.fail_waiting("process", error)

    # -- from the links ----------------------------------------------------------

    def link_ready(self, link: ProcessLink, seconds: float) -> None:
        """A process takes jobs from now on."""
        self._observer.happened(
            "pool process ready",
            expected=self._warming is not None,
            pid=link.pid,
            after=f"{time.monotonic() - link.asked_at:.4f}",
            imports=f"{seconds:.4f}",
        )
        if seconds > _SLOW_IMPORT and not self._has_warned_of_imports:
            self._has_warned_of_imports = True
            self._observer.warned(
                f"importing the jobs' modules took {seconds:.1f} s in a pool process, and every "
                "one does it: jobs belong in a module that imports little; --preload shares what "
                "third-party modules cost"
            )
        self._idle.append(link)
        self._activity.begin()
        if self._leaving is not None:
            self._close_replaced()
        self._check_warm()
        self._owner.member_free()

    def link_answered(
        self, link: ProcessLink, call: Call, answer: PickledFrame | Raised | Failure
    ) -> None:
        """A call is over."""
        outcome, value = read_answer(link, call, answer)
        self._release_arguments(link)
        if self._broadcasts:
            self._make_idle(link)
        else:
            self._idle.append(link)
        if self._leaving is link and self.ready_processes > self._target:
            self._close_replaced()
        if not self._broadcasts or not self._broadcasts.answered(call, outcome, value):
            self._owner.ended(call, outcome, value)

    def _make_idle(self, link: ProcessLink) -> None:
        """Give an idle process its errand, or put it where the pool finds it."""
        errand = self._broadcasts.next(link)
        if errand is None:
            self._idle.append(link)
            return
        try:
            link.run(errand)
        except JobError as ex:
            self._broadcasts.answered(errand, Outcome.ERROR, ex)
            self._make_idle(link)
        except MemberGone as ex:
            self._broadcasts.answered(errand, Outcome.BROKEN, PoolBroken(str(ex)))

    def broadcast(self, job: Job, args: tuple[Any, ...]) -> list[asyncio.Future[Any]]:
        """Run `job` once in every process that is ready; return the answers to come."""
        answers = []
        for link in self._links:
            if link.state is LinkState.STARTING:
                continue
            answer: asyncio.Future[Any] = self._loop.create_future()
            now = time.monotonic()
            call = Call(
                job, args, {}, line=_BROADCASTS, now=now, deadline=math.inf,
                future=answer, on_progress=None,
            )  # fmt: skip
            self._broadcasts.add(link, call, answer)
            answer.add_done_callback(partial(self._on_broadcast_end, call))
            answers.append(answer)
        idle, self._idle = self._idle, []
        for link in idle:
            self._make_idle(link)
        return answers

    def _on_broadcast_end(self, call: Call, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():  # a deadline, or its caller has left: as for any other call
            self.abandon(call)

    def link_noted(self, link: ProcessLink, note: Note) -> None:
        """A process has something to say about itself, before its answer."""
        replace = note.replace
        if note.kept and link.loan is not None and link.call is not None:
            self._observer.warned(
                f"job {link.call.job.name} kept a reference to its arguments (a global, a memo) "
                f"or left a thread running: "
                f"their memory is not used again before pool process {link.pid} is replaced; "
                f"keep a copy instead"
            )
            replace = replace or link.loan.quarantine_arguments(note.kept) > _QUARANTINE
        if replace and self._leaving is None:
            self._leaving = link
            self._grow()

    def link_failed(self, link: ProcessLink, failure: Failure) -> None:
        """A process could not get ready: an import or initialiser raised."""
        link.close()
        self._drop(link)
        error = PoolBroken(f"a pool process could not get ready: {failure.message.rstrip()}")
        self._observer.warned(str(error))
        self._check_warm(error)
        self._target = min(self._target, len(self._links))  # until calls ask for more
        self._fail_waiting(error)

    def link_lost(self, link: ProcessLink, call: Call | None, has_begun: bool) -> None:
        """A process is dead."""
        self._drop(link)
        job = call.job.name if call is not None else "-"
        self._observer.happened("pool process died", pid=link.pid, job=job)
        self._grow()
        self._broadcasts.lost(link)
        if call is None:
            return
        error = PoolBroken(f"pool process {link.pid} died while it ran job {call.job.name}")
        if self._broadcasts.answered(call, Outcome.BROKEN, error):
            return
        if has_begun:
            self._owner.ended(call, Outcome.BROKEN, error)
        else:
            self._owner.returned(call)

    def _drop(self, link: ProcessLink) -> None:
        self._links.remove(link)
        self._activity.begin()
        if link in self._idle:
            self._idle.remove(link)
        if self._leaving is link:
            self._leaving = None
        if link.loan is not None:
            link.loan.end()

    def _close_replaced(self) -> None:
        """Close the link that has been replaced, once it runs nothing."""
        link = self._leaving
        if link is not None and link.call is None:
            link.close()
            self._drop(link)
            self._observer.happened("pool process replaced", pid=link.pid)

    @staticmethod
    def _release_arguments(link: ProcessLink) -> None:
        if link.loan is not None:
            link.loan.release_arguments()
