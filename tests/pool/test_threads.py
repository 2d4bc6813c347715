"""The thread lane: what cannot be stopped is counted; who holds the GIL is found."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import numpy as np
import pytest

from hybrid.errors import JobTimeout
from hybrid.pool.job import as_job, job
from tests.pool import jobs
from tests.pool.conftest import until


def submit(pool, fn, *args, **options):
    return asyncio.ensure_future(pool.run(as_job(fn), args, {}, lane="thread", **options))


def test_an_abandoned_job_keeps_its_slot_until_it_really_ends(harness, tmp_path):
    # BentoML #5642: the time-out freed the limiter while the work still ran.
    pool, go = harness.pool(slots=1), tmp_path / "go"

    async def test():
        with pytest.raises(JobTimeout):
            await submit(pool, jobs.wait_for, str(go), deadline=0.05)
        behind = submit(pool, jobs.add, 1)
        await asyncio.sleep(0.05)
        statistics = pool.statistics()
        assert (statistics.busy, statistics.abandoned, statistics.queued) == (1, 1, 1)
        go.touch()
        assert await behind == 2
        statistics = pool.statistics()
        assert (statistics.busy, statistics.abandoned, statistics.threads) == (0, 0, 1)

    harness.run(test())
    assert pool.statistics().killed == 0


def test_too_many_abandoned_jobs_ask_for_a_new_worker_once(harness, tmp_path):
    pool, go = harness.pool(slots=2), tmp_path / "go"

    async def test():
        calls = [submit(pool, jobs.wait_for, str(go), deadline=0.05) for _ in range(2)]
        await asyncio.gather(*calls, return_exceptions=True)
        go.touch()
        await until(lambda: pool.statistics().busy == 0)

    harness.run(test())
    assert len(harness.recorder.replacements) == 1
    assert "2 of 2 slots" in harness.recorder.replacements[0]


def test_no_array_is_copied(harness):
    array = np.ones(1_000_000)
    pool = harness.pool()

    result = harness.run(pool.run(as_job(jobs.echo), (array,), {}, lane="thread"))

    assert np.shares_memory(result, array)


def test_threads_are_started_on_demand_and_reused(harness):
    pool = harness.pool(slots=4)

    async def test():
        return {await submit(pool, jobs.thread_name) for _ in range(5)}

    assert harness.run(test()) == {"hybrid-pool-0"}
    assert pool.statistics().threads == 1


def test_closing_ends_the_threads(harness):
    pool = harness.pool(slots=2)

    async def test():
        await asyncio.gather(*(submit(pool, jobs.sleep, 0.01) for _ in range(4)))
        await pool.close(1.0)

    harness.run(test())
    assert not [t for t in threading.enumerate() if t.name.startswith("hybrid-pool")]


def test_a_closed_lane_gives_its_descriptors_back_and_can_be_closed_again(harness):
    pool, before = harness.pool(slots=2), len(os.listdir("/proc/self/fd"))

    async def test():
        await asyncio.gather(*(submit(pool, jobs.sleep, 0.01) for _ in range(4)))
        assert pool.statistics().threads == 2
        await pool.close(1.0)
        await pool.close(1.0)

    harness.run(test())
    assert len(os.listdir("/proc/self/fd")) <= before


class Big:
    """Something whose end can be seen."""


def test_neither_thread_nor_pool_keeps_arguments_or_results_alive(harness):
    pool, argument = harness.pool(slots=1), Big()
    watched = weakref.ref(argument)

    async def test(argument):
        await submit(pool, jobs.echo, argument)

    harness.run(test(argument))
    del argument
    gc.collect()
    assert watched() is None


def test_a_job_that_holds_the_gil_is_found_and_named_once(harness):
    pool = harness.pool(slots=1)
    spin = job(jobs.spin, releases_gil=True)

    async def test():
        for _ in range(2):
            await pool.run(spin, (0.6,), {})

    harness.run(test())
    advice = [text for text in harness.recorder.warnings if "holds the GIL" in text]
    assert len(advice) == 1
    assert "tests.pool.jobs:spin" in advice[0]


def test_a_job_that_releases_the_gil_is_not_accused(harness):
    pool = harness.pool(slots=1)

    async def test():
        await submit(pool, jobs.sleep, 0.4)
        await submit(pool, jobs.multiply, 700)

    harness.run(test())
    assert not [text for text in harness.recorder.warnings if "GIL" in text]
