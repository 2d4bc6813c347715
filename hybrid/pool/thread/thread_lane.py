"""The thread lane: pool threads of this worker.

     event-loop thread                    |  pool thread k
                                          |
     start(call) --> rings its bell ------+-> fn(*args): no copy, true parallelism
                                          |      while numpy has released the GIL
     _collect() <-- call_soon_threadsafe -+-- (call, result)

Rule 1: a thread cannot be stopped. An abandoned call keeps its slot until it
        really ends.
Rule 2: threads are started on demand and kept; the last one used is the next
        one used, its stack and caches are warm.
Rule 3: daemon threads: a job that never ends must not keep the worker from exiting.

Why a pipe is the bell, not a lock or a queue: write(2) releases the GIL while it wakes
the thread. A thread that a lock has woken finds the GIL still held and goes back to
sleep. For a job that costs nothing, there and back on one CPU: 20 µs against 29.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from hybrid.core.jobs.ticket import Outcome
from hybrid.pool.call import Call
from hybrid.pool.lane import LaneOwner, ignore_report
from hybrid.pool.running import execute, presentable
from hybrid.pool.thread.gil_watch import GilWatch
from hybrid.system.process.time_slice import ask_for_long_slices


class PoolThread:
    """One thread and its bell; at most one call at a time."""

    def __init__(self, number: int, lane: ThreadLane) -> None:
        self.number = number
        self.call: Call | None = None  # written by the event-loop thread only
        self._lane = lane
        self._bell, self._ring = os.pipe()
        self.thread = threading.Thread(target=self._work, name=f"hybrid-pool-{number}", daemon=True)
        try:
            self.thread.start()
        except RuntimeError:  # the system has no room for another thread
            os.close(self._bell)
            os.close(self._ring)
            raise

    def run(self, call: Call) -> None:
        """Let the thread run `call`; it is idle."""
        self.call = call
        call.slot = self.number
        os.write(self._ring, b"!")

    def end_after_call(self) -> None:
        """Let the thread end once its call has; it must not be used again."""
        os.close(self._ring)

    def _work(self) -> None:
        ask_for_long_slices()  # the loop needs a CPU often and briefly: it comes first
        while os.read(self._bell, 1):
            call = self.call
            assert call is not None  # it was there before the bell rang
            outcome, value = self._lane.perform(call)
            self._lane.hand_over(self, outcome, value)
            # Why: an idle thread must not keep the last result alive.
            del call, value
        os.close(self._bell)


class ThreadLane:
    """Threads of one pool."""

    def __init__(
        self,
        owner: LaneOwner,
        loop: asyncio.AbstractEventLoop,
        prepare: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        """Make a lane without threads.

        Args:
            owner: the pool.
            loop: its event loop.
            prepare: called before every job; makes this process fit for the first one.
            warn: is given advice for the application's author.
        """
        self._owner, self._loop = owner, loop
        self._prepare = prepare
        self._gil = GilWatch(loop, self.running_jobs, warn)
        self._threads: list[PoolThread] = []
        self._idle: list[PoolThread] = []
        self._over: deque[tuple[PoolThread, Outcome, Any]] = deque()

    def running_jobs(self) -> set[str]:
        """Return the addresses of the jobs that run now, abandoned ones included."""
        return {thread.call.job.address for thread in self._threads if thread.call is not None}

    def ready(self) -> bool:
        """Return True: a missing thread is started in some 50 µs."""
        return True

    def start(self, call: Call) -> None:
        """Hand `call` to an idle thread, or to a new one."""
        thread = self._idle.pop() if self._idle else self._new_thread()
        thread.run(call)
        self._gil.job_started()

    def _new_thread(self) -> PoolThread:
        thread = PoolThread(len(self._threads), self)
        self._threads.append(thread)
        return thread

    def perform(self, call: Call) -> tuple[Outcome, Any]:
        """Run `call`; called by its pool thread."""
        report = self._reporter(call) if call.on_progress is not None else ignore_report
        job = call.job
        try:
            self._prepare()
        except Exception as ex:
            return Outcome.ERROR, ex
        result, raised = execute(job.fn, call.args, call.kwargs, job.writable, report)
        if raised is not None:
            return Outcome.ERROR, presentable(raised, job.name)
        return Outcome.OK, result

    def _reporter(self, call: Call) -> Any:
        def report(fraction: float, note: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(call.report, fraction, note)

        return report

    def hand_over(self, thread: PoolThread, outcome: Outcome, value: Any) -> None:
        """Give the result to the event-loop thread; called by a pool thread.

        One wake-up serves every result that is there when the loop gets to it.
        """
        self._over.append((thread, outcome, value))
        try:  # cheaper than suppress() by 0.5 µs, under the GIL that the loop waits for
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:  # the loop is closed, and with it every caller
            return

    def _collect(self) -> None:
        while self._over:
            thread, outcome, value = self._over.popleft()
            call, thread.call = thread.call, None
            self._idle.append(thread)
            assert call is not None  # a thread hands over what it was given, once
            self._owner.ended(call, outcome, value)

    def abandon(self, call: Call) -> None:
        """Do nothing: a thread cannot be stopped (rule 1)."""

    def request_members(self, calls: int) -> None:
        """Do nothing: threads are started when needed."""

    async def close(self) -> None:
        """End the idle threads; one with an abandoned call ends with the process."""
        self._gil.close()
        threads, self._threads = self._threads, []
        idle, self._idle = self._idle, []
        for thread in threads:
            thread.end_after_call()
        for thread in idle:
            thread.thread.join()
