"""Bugs that other pools had; each test is named after the one that had it.

Numbers are those of the issue in the project's own tracker.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from hybrid.core.jobs.ticket import Outcome
from hybrid.errors import (
    JobCancelled,
    JobOutOfMemory,
    JobRefused,
    JobTimeout,
    PoolBroken,
    PoolClosed,
    ResultNotPicklable,
)
from hybrid.pool.job import LaneName, as_job
from hybrid.pool.process.process_link import ProcessLink
from tests.pool import jobs
from tests.pool.conftest import Harness, until

both = pytest.mark.parametrize("lane", ["thread", "process"])


def submit(pool, fn, *args, lane="process", **options):
    return asyncio.ensure_future(pool.run(as_job(fn), args, {}, lane=lane, **options))


def processes(pool):
    return pool.statistics().processes


def no_pool_threads():
    return not [t for t in threading.enumerate() if t.name.startswith("hybrid-pool")]


def test_piscina_805_jobs_behind_an_aborted_one_start(harness: Harness) -> None:
    pool = harness.pool(slots=2, kill_grace=0.0)

    async def test():
        await pool.warm()
        running = [submit(pool, jobs.spin, 60.0) for _ in range(2)]
        await until(lambda: pool.statistics().busy == 2)
        behind = [submit(pool, jobs.add, n) for n in range(8)]
        for future in running:
            future.cancel()
        assert await asyncio.gather(*behind) == [n + 1 for n in range(8)]
        await until(lambda: processes(pool) == 2)

    harness.run(test())


def test_piscina_934_an_abort_leaves_the_neighbour_alone(harness: Harness, tmp_path: Path) -> None:
    pool, go = harness.pool(slots=2, kill_grace=0.0), tmp_path / "go"

    async def test():
        await pool.warm()
        neighbour = submit(pool, jobs.wait_for, str(go))
        aborted = submit(pool, jobs.spin, 60.0)
        await until(lambda: pool.statistics().busy == 2)
        aborted.cancel()
        await until(lambda: pool.statistics().killed == 1)
        await until(lambda: processes(pool) == 2)
        go.touch()
        assert await neighbour

    harness.run(test())
    assert pool.statistics().outcomes[Outcome.BROKEN] == 0


def test_workerpool_548_the_kill_timer_of_one_job_spares_the_next(harness: Harness) -> None:
    pool = harness.pool(slots=1, kill_grace=0.2)

    async def test():
        pid = await submit(pool, jobs.pid)
        with pytest.raises(JobTimeout):
            await submit(pool, jobs.sleep, 0.1, deadline=0.05)
        assert await submit(pool, jobs.sleep, 0.4) == 0.4  # the old timer fires in here
        assert await submit(pool, jobs.pid) == pid

    harness.run(test())


@both
def test_workerpool_96_a_closed_pool_leaves_no_queue_running(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1)
    go, mark = tmp_path / "go", tmp_path / "mark"

    async def test():
        first = submit(pool, jobs.wait_for, str(go), lane=lane)
        await until(lambda: pool.statistics().busy == 1)
        queued = submit(pool, jobs.started_then_wait, str(mark), str(go), lane=lane)
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(pool.close(0.0))
        await asyncio.sleep(0)
        go.touch()
        await closing
        found = await asyncio.gather(first, queued, return_exceptions=True)
        assert [type(each) for each in found] == [JobCancelled, JobCancelled]
        with pytest.raises(PoolClosed):
            await submit(pool, jobs.add, 1, lane=lane)

    harness.run(test())
    assert not mark.exists()


@both
def test_piscina_796_a_drain_ends_also_when_the_last_job_is_withdrawn(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool, go = harness.pool(slots=1, kill_grace=0.0), tmp_path / "go"

    async def test():
        last = submit(pool, jobs.wait_for, str(go), lane=lane)
        await until(lambda: pool.statistics().busy == 1)
        closing = asyncio.ensure_future(pool.close(60.0))
        await asyncio.sleep(0.05)
        last.cancel()
        await asyncio.wait_for(closing, 15.0)
        go.touch()
        await until(no_pool_threads)

    harness.run(test())


@both
def test_piscina_796_a_drain_does_not_wait_for_work_that_nobody_waits_for(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool, go = harness.pool(slots=1, kill_grace=60.0), tmp_path / "go"

    async def test():
        await pool.warm()
        with pytest.raises(JobTimeout, match="running"):
            await submit(pool, jobs.wait_for, str(go), lane=lane, deadline=0.3)
        assert pool.statistics().abandoned == 1
        await asyncio.wait_for(pool.close(60.0), 15.0)
        go.touch()
        await until(no_pool_threads)

    harness.run(test())


def test_piscina_868_what_waits_is_counted_in_jobs_not_in_members(
    harness: Harness, tmp_path: Path
) -> None:
    pool, go = harness.pool(slots=2), tmp_path / "go"

    async def test():
        first = [submit(pool, jobs.wait_for, str(go)) for _ in range(2)]
        await until(lambda: pool.statistics().busy == 2)
        assert pool.statistics().queued == 0
        behind = [submit(pool, jobs.add, n) for n in range(5)]
        await asyncio.sleep(0)
        assert pool.statistics().queued == 5
        go.touch()
        await asyncio.gather(*first, *behind)
        assert pool.statistics().queued == 0

    harness.run(test())


def test_node_worker_threads_pool_13_timeouts_do_not_shrink_the_pool(harness: Harness) -> None:
    pool = harness.pool(slots=2, kill_grace=0.0)

    async def test():
        await pool.warm()
        for _ in range(4):
            with pytest.raises(JobTimeout):
                await submit(pool, jobs.spin, 60.0, deadline=0.02)
        await until(lambda: processes(pool) == 2 and pool.statistics().abandoned == 0)
        assert await asyncio.gather(*(submit(pool, jobs.add, n) for n in range(4)))

    harness.run(test())


def test_impress_1960_a_process_out_of_memory_is_replaced(harness: Harness) -> None:
    pool = harness.pool(slots=1, max_memory=64 * 2**20)

    async def test():
        for _ in range(2):
            with pytest.raises(JobOutOfMemory):
                await submit(pool, jobs.eat, 200)
            assert await submit(pool, jobs.add, 1) == 2
        await until(lambda: harness.recorder.count("pool process replaced") >= 1)

    harness.run(test())


def test_worker_nodes_6_equal_limits_do_not_end_all_processes_at_once(harness: Harness) -> None:
    pool = harness.pool(slots=3, max_jobs=4)
    fewest = []

    async def client():
        while harness.recorder.count("pool process replaced") < 3:
            await submit(pool, jobs.sleep, 0.002)
            replaced = harness.recorder.count("pool process replaced")
            fewest.append((processes(pool), len(harness.spawner.pids) - replaced))

    async def test():
        await pool.warm()
        await asyncio.gather(*(client() for _ in range(3)))

    harness.run(test())
    assert min(ready for ready, _ in fewest) >= 3  # replacement first
    assert max(links for _, links in fewest) <= 4  # one at a time


def test_worker_nodes_6_limits_are_drawn_apart(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeted = []
    send_hello = ProcessLink.send_hello
    monkeypatch.setattr(
        ProcessLink,
        "send_hello",
        lambda link, hello: greeted.append(hello) or send_hello(link, hello),
    )
    pool = harness.pool(slots=6, max_jobs=10_000, max_rss=2**30)

    harness.run(pool.warm())

    for limits, least in (
        ([hello.jobs_until_replacement for hello in greeted], 10_000),
        ([hello.rss_until_replacement for hello in greeted], 2**30),
    ):
        assert len(set(limits)) == 6
        assert min(limits) >= least
        assert max(limits) <= 1.2 * least


def test_concurrent_futures_one_death_does_not_break_the_pool(harness: Harness) -> None:
    pool = harness.pool(slots=2)

    async def test():
        await pool.warm()
        behind = [submit(pool, jobs.sleep, 0.01) for _ in range(6)]
        dead = submit(pool, jobs.exit_now)
        with pytest.raises(PoolBroken, match="exit_now"):
            await dead
        assert await asyncio.gather(*behind) == [0.01] * 6
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test())
    assert pool.statistics().outcomes[Outcome.BROKEN] == 1


def test_concurrent_futures_what_cannot_be_pickled_does_not_hang_the_pool(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        with pytest.raises(JobRefused, match="lock"):
            await submit(pool, jobs.echo, threading.Lock())
        with pytest.raises(ResultNotPicklable, match="lock"):
            await submit(pool, jobs.returns_lock)
        assert await submit(pool, jobs.add, 1) == 2
        await asyncio.wait_for(pool.close(10.0), 5.0)

    harness.run(test())


def test_concurrent_futures_a_cancelled_job_does_not_hang_the_shutdown(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        running = submit(pool, jobs.sleep, 0.2)
        await until(lambda: pool.statistics().busy == 1)
        queued = [submit(pool, jobs.add, n) for n in range(5)]
        await asyncio.sleep(0)
        for future in queued:
            future.cancel()
        await asyncio.wait_for(pool.close(10.0), 5.0)
        assert await running == 0.2

    harness.run(test())


def test_loky_176_a_running_job_can_be_cancelled(harness: Harness) -> None:
    pool = harness.pool(slots=1, kill_grace=0.0)

    async def test():
        await pool.warm()
        running = submit(pool, jobs.spin, 60.0)
        await until(lambda: pool.statistics().busy == 1)
        running.cancel()
        await until(lambda: pool.statistics().killed == 1 and pool.statistics().busy == 0)
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test())


def test_bentoml_5642_a_timeout_gives_no_slot_back_that_still_works(
    harness: Harness, tmp_path: Path
) -> None:
    pool, go = harness.pool(slots=1), tmp_path / "go"

    async def test():
        with pytest.raises(JobTimeout):
            await submit(pool, jobs.wait_for, str(go), lane="thread", deadline=0.05)
        behind = submit(pool, jobs.add, 1, lane="thread")
        await asyncio.sleep(0.05)
        assert (pool.statistics().busy, pool.statistics().queued) == (1, 1)
        go.touch()
        assert await behind == 2

    harness.run(test())
