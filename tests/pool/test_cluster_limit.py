"""A pool that shares its permits with other workers."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hybrid.errors import JobTimeout
from hybrid.pool.job import LaneName, as_job, job
from hybrid.system.memory.permits import Permits, PermitTable
from hybrid.system.scoreboard.scoreboard import Scoreboard
from tests.pool import jobs
from tests.pool.conftest import Harness, until

members = pytest.mark.parametrize("lane", ["inline", "thread", "process"])


@dataclass
class Stalled:
    """A worker that is stopped, or whose loop is blocked."""

    pid: int
    how: str
    said: int  # readable when it has got a permit after all
    _revive: int

    def revive(self) -> None:
        if self.how == "stopped":
            os.kill(self.pid, signal.SIGCONT)
        else:
            os.write(self._revive, b"!")

    def close(self) -> None:
        os.close(self.said)
        os.close(self._revive)


class CountingPermits(Permits):
    """Counts what is taken at once, and what only a regular look gets."""

    at_once = late = 0

    def take(self, since: float, patient: bool = True) -> int | None:
        permit = super().take(since, patient)
        self.at_once += permit is not None and patient
        self.late += permit is not None and not patient
        return permit


class Cluster:
    """The primary's part: a table of two permits, and other workers."""

    def __init__(self) -> None:
        self.table, self.scoreboard = PermitTable(2, 4), Scoreboard(4)
        self.pids: list[int] = []

    def permits(self) -> Permits:
        return Permits(self.table, self.scoreboard, 0)

    def other_worker(self, permits: int) -> None:
        """Fork a worker that holds permits; it gives one back at each SIGUSR1."""
        reader, writer = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # nobody is left behind, even by a test that fails
            try:
                mine = Permits(self.table, self.scoreboard, 1 + len(self.pids))
                held = [mine.take(1.0) for _ in range(permits)]
                os.write(writer, b"!")
                while held:
                    signal.sigwait([signal.SIGUSR1])
                    mine.keep(held.pop())
                    mine.release()
                signal.pause()
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        self.pids.append(pid)
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)

    def stalled_worker(self, how: str) -> Stalled:
        """Fork a worker whose job waits for a permit, and that does not answer its bell."""
        said, writer = os.pipe()
        reader, revive = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            try:
                mine = Permits(self.table, self.scoreboard, 1)
                mine.waits_since(1.0)
                os.write(writer, b"!")
                if how == "blocked":
                    os.read(reader, 1)
                permit = None
                while permit is None:
                    select.select([mine], [], [])
                    mine.answer_bell()
                    permit = mine.take(1.0)
                mine.waits_since(0.0)
                os.write(writer, b"!")
                signal.pause()
            finally:
                os._exit(0)
        self.pids.append(pid)
        os.read(said, 1)
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
        os.close(reader)
        os.close(writer)
        return Stalled(pid, how, said, revive)

    def close(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.table.close()


@pytest.fixture
def cluster() -> Iterator[Any]:
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def late_cluster(cluster: Cluster, harness: Harness) -> Iterator[Any]:
    """The harness must close its pools before the table is closed."""
    yield cluster
    harness.close()
    harness._pools.clear()
    harness._spawners.clear()


@members
def test_no_more_jobs_run_than_the_cluster_permits(
    harness: Harness, late_cluster: Cluster, lane: LaneName, tmp_path: Path
) -> None:
    late_cluster.other_worker(1)
    pool = harness.pool(slots=4, permits=late_cluster.permits())
    go = tmp_path / "go"

    async def test():
        first = [
            asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane="thread"))
            for _ in range(2)
        ]
        await until(lambda: pool.statistics().busy == 1)
        behind = asyncio.ensure_future(pool.run(as_job(jobs.add), (1,), {}, lane=lane))
        await asyncio.sleep(0.05)
        statistics = pool.statistics()
        assert (statistics.busy, statistics.queued) == (1, 2)
        go.touch()
        await asyncio.gather(*first)
        return await behind

    assert harness.run(test()) == 2


def test_a_job_that_waits_takes_no_permit(harness: Harness, late_cluster: Cluster) -> None:
    late_cluster.other_worker(2)
    pool = harness.pool(slots=4, permits=late_cluster.permits())
    waits = job(jobs.sleep, releases_gil=True, waits=True)

    assert harness.run(pool.run(waits, (0.01,), {})) == 0.01


def test_a_permit_that_is_given_back_elsewhere_starts_the_waiting_job(
    harness: Harness, late_cluster: Cluster
) -> None:
    late_cluster.other_worker(2)
    pool = harness.pool(slots=1, permits=late_cluster.permits())

    async def test():
        waiting = asyncio.ensure_future(pool.run(as_job(jobs.add), (1,), {}, lane="thread"))
        await asyncio.sleep(0.03)
        assert pool.statistics().queued == 1
        assert late_cluster.scoreboard.oldest_waiting() == 0
        os.kill(late_cluster.pids[0], signal.SIGUSR1)
        assert await waiting == 2
        assert late_cluster.scoreboard.oldest_waiting() is None

    harness.run(test())


def test_the_permits_of_a_killed_worker_are_not_lost(
    harness: Harness, late_cluster: Cluster
) -> None:
    late_cluster.other_worker(2)
    pool = harness.pool(slots=1, permits=late_cluster.permits())

    async def test():
        waiting = asyncio.ensure_future(pool.run(as_job(jobs.add), (1,), {}, lane="process"))
        await until(lambda: pool.statistics().processes == 1)
        os.kill(late_cluster.pids[0], signal.SIGKILL)
        assert await waiting == 2

    harness.run(test())


@pytest.mark.parametrize("how", ["stopped", "blocked"])
def test_jobs_do_not_wait_for_a_worker_that_does_not_answer(
    harness: Harness, late_cluster: Cluster, how: Any
) -> None:
    stalled = late_cluster.stalled_worker(how)
    permits = CountingPermits(late_cluster.table, late_cluster.scoreboard, 0)
    pool = harness.pool(slots=1, permits=permits)

    async def run_jobs(n):
        for _ in range(n):
            assert await pool.run(as_job(jobs.add), (1,), {}, lane="thread") == 2

    async def run_until_it_has_got_one():
        while not select.select([stalled.said], [], [], 0)[0]:
            await run_jobs(1)

    harness.run(run_jobs(50))
    assert (permits.at_once, permits.late) == (48, 2)
    stalled.revive()
    harness.run(run_until_it_has_got_one())
    stalled.close()


def test_a_withdrawn_job_no_longer_asks_for_a_permit(
    harness: Harness, late_cluster: Cluster
) -> None:
    late_cluster.other_worker(2)
    pool = harness.pool(slots=1, permits=late_cluster.permits())

    async def test():
        waiting = asyncio.ensure_future(pool.run(as_job(jobs.add), (1,), {}, lane="thread"))
        await until(lambda: late_cluster.scoreboard.oldest_waiting() == 0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert late_cluster.scoreboard.oldest_waiting() is None

    harness.run(test())


@pytest.fixture
def starving(harness: Harness, late_cluster: Cluster, tmp_path: Path) -> Iterator[Any]:
    """A pool whose abandoned jobs hold both permits of the cluster."""
    permits = late_cluster.permits()
    pool = harness.pool(slots=4, permits=permits)
    job, go = as_job(jobs.wait_for), tmp_path / "go"

    async def abandon():
        for _ in range(2):
            with pytest.raises(JobTimeout, match="running"):
                await pool.run(job, (str(go),), {}, lane="thread", deadline=0.02)
        assert pool.statistics().abandoned_permits == 2

    harness.run(abandon())
    yield pool
    go.touch()
    harness.run(until(lambda: pool.statistics().busy == 0))
    assert len(permits._free) == 2


@pytest.mark.parametrize("how", ["waits", "has given up"])
def test_a_job_anywhere_that_misses_a_permit_of_abandoned_work_gets_the_worker_replaced(
    harness: Harness, late_cluster: Cluster, starving: Any, how: Any
) -> None:
    other = Permits(late_cluster.table, late_cluster.scoreboard, 1)
    late_cluster.scoreboard.claim(1, 1, 0.0)
    late_cluster.scoreboard.claim(2, 1, 0.0)
    if how == "waits":
        other.waits_since(time.monotonic())
    else:
        harness.run(until(lambda: harness.recorder.warnings))
        other.note_missed(time.monotonic())

    harness.run(until(lambda: harness.recorder.replacements))

    (reason,) = harness.recorder.replacements
    assert "2 of 4 slots and 2 permits of the cluster" in reason
    other.waits_since(0.0)


def test_nobody_is_replaced_while_a_permit_is_free(harness: Harness, late_cluster: Cluster) -> None:
    permits, other = (Permits(late_cluster.table, late_cluster.scoreboard, row) for row in (0, 1))
    held = permits.take(1.0)
    other.waits_since(1.0)  # and is stopped: it does not take the second one

    assert not permits.is_missed(before=2.0, after=2.0)
    late_cluster.other_worker(1)
    assert permits.is_missed(before=2.0, after=2.0)
    permits.keep(held)
    permits.release()


def test_a_worker_that_drains_gives_the_permits_of_abandoned_work_back(
    harness: Harness, starving: Any
) -> None:
    async def test():
        behind = asyncio.ensure_future(starving.run(as_job(jobs.add), (1,), {}, lane="thread"))
        await until(lambda: starving.statistics().queued == 1)
        await until(lambda: harness.recorder.warnings)
        assert not behind.done()
        starving.leave()
        assert await behind == 2

    harness.run(test())
    statistics = starving.statistics()
    assert (statistics.abandoned, statistics.abandoned_permits) == (2, 0)


def test_permits_of_abandoned_work_come_back_also_when_no_replacement_comes(
    harness: Harness, starving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid.pool.abandoned.PATIENCE", 0.0)

    assert harness.run(starving.run(as_job(jobs.add), (1,), {}, lane="thread")) == 2
    assert starving.statistics().abandoned == 2  # they have not ended meanwhile
    assert len(harness.recorder.replacements) == 1


def test_a_killed_job_gives_its_permit_back(harness: Harness, late_cluster: Cluster) -> None:
    late_cluster.other_worker(1)
    pool = harness.pool(slots=2, permits=late_cluster.permits())

    async def test():
        await pool.warm()
        with pytest.raises(JobTimeout):
            await pool.run(as_job(jobs.spin), (60.0,), {}, lane="process", deadline=0.1)
        assert await pool.run(as_job(jobs.add), (1,), {}, lane="process") == 2

    harness.run(test())
