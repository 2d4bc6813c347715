"""Watches the loop's lateness while thread jobs run; advises once per job.

A timer every TICK, only while a thread job runs: idle pools cost nothing, busy
ones some 20 µs per tick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic, thread_time

from hybrid.core.jobs.gil_evidence import GilEvidence

TICK = 0.020  # s
_SCHEDSTAT = Path("/proc/thread-self/schedstat")  # CPU ns, waiting-for-a-CPU ns, slices


class GilWatch:
    """The sampler of one pool."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        running: Callable[[], set[str]],
        warn: Callable[[str], None],
    ) -> None:
        """Make a watch.

        Args:
            loop: the loop whose lateness counts.
            running: returns the addresses of the thread jobs that run now.
            warn: is given the advice.
        """
        self._loop, self._running, self._warn = loop, running, warn
        self._evidence = GilEvidence()
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._cpu = self._queued = 0.0
        self._is_possible = _SCHEDSTAT.exists()

    def job_started(self) -> None:
        """A thread job was started: watch, unless the timer runs already."""
        if self._timer is None and self._is_possible:
            self._sample()

    def _sample(self) -> None:
        self._cpu, self._queued = thread_time(), _queued()
        self._due = monotonic() + TICK
        self._timer = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        jobs = self._running()
        if not jobs:
            return
        late = monotonic() - self._due
        found = self._evidence.moment(
            jobs, late, thread_time() - self._cpu, _queued() - self._queued
        )
        if found is not None:
            self._warn(
                f"job {found} is declared releases_gil=True but holds the GIL: the event loop "
                f"waited {self._evidence.waited(found) * 1000:.0f} ms at every turn; "
                f"drop releases_gil (process lane), or give it larger arrays"
            )
        self._sample()

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _queued() -> float:
    """Return the seconds this thread has been runnable without a CPU."""
    return int(_SCHEDSTAT.read_text().split()[1]) * 1e-9
