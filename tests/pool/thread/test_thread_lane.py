"""The thread lane: what cannot be stopped is counted; who holds the GIL is found."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from hybrid.errors import JobTimeout
from hybrid.pool.job import as_job, job
from tests.pool import jobs
from tests.pool.conftest import Harness, until


def submit(pool, fn, *args, **options):
    return asyncio.ensure_future(pool.run(as_job(fn), args, {}, lane="thread", **options))


def test_an_abandoned_job_keeps_its_slot_until_it_really_ends(
    harness: Harness, tmp_path: Path
) -> None:
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
        assert (statistics.busy, statistics.abandoned) == (0, 0)

    harness.run(test())
    assert pool.statistics().killed == 0


async def abandon(pool, go, calls=1):
    """Let so many jobs go on, until `go` exists, though their deadline has passed."""
    late = [submit(pool, jobs.wait_for, str(go), deadline=0.02) for _ in range(calls)]
    answers = await asyncio.gather(*late, return_exceptions=True)
    assert {type(answer) for answer in answers} == {JobTimeout}


def test_abandoned_work_that_goes_on_is_named_once_with_its_cost(
    harness: Harness, tmp_path: Path
) -> None:
    pool, go = harness.pool(slots=2), tmp_path / "go"

    async def test():
        await abandon(pool, go)
        await until(lambda: harness.recorder.warnings)
        assert "wait_for" in harness.recorder.warnings[0]
        assert "1 of 2 slots until they end" in harness.recorder.warnings[0]
        await abandon(pool, go)
        behind = submit(pool, jobs.add, 1)
        await until(lambda: harness.recorder.replacements)  # so the second was seen, too
        go.touch()
        await behind

    harness.run(test())
    assert len(harness.recorder.warnings) == 1


def test_abandoned_work_in_nobodys_way_asks_for_nothing(harness: Harness, tmp_path: Path) -> None:
    pool, go = harness.pool(slots=3), tmp_path / "go"

    async def test():
        await abandon(pool, go, calls=2)
        await until(lambda: harness.recorder.warnings)
        for _ in range(100):
            assert await submit(pool, jobs.add, 1) == 2
        go.touch()
        await until(lambda: pool.statistics().busy == 0)

    harness.run(test())
    assert harness.recorder.replacements == []


def test_a_job_that_waits_for_abandoned_work_gets_the_worker_replaced_once(
    harness: Harness, tmp_path: Path
) -> None:
    pool, go = harness.pool(slots=2), tmp_path / "go"

    async def test():
        await abandon(pool, go, calls=2)
        behind = [submit(pool, jobs.add, 1) for _ in range(2)]
        await until(lambda: harness.recorder.replacements)
        go.touch()
        await asyncio.gather(*behind)

    harness.run(test())
    (reason,) = harness.recorder.replacements
    assert "2 of 2 slots are held by abandoned jobs (wait_for)" in reason


def test_jobs_that_give_up_waiting_for_abandoned_work_count_as_well(
    harness: Harness, tmp_path: Path
) -> None:
    # None of them waits as long as the grace.
    pool, go = harness.pool(slots=1, kill_grace=0.2), tmp_path / "go"

    async def test():
        await abandon(pool, go)
        while not harness.recorder.replacements:
            with pytest.raises(JobTimeout, match="waiting in the queue"):
                await submit(pool, jobs.add, 1, deadline=0.02)
        go.touch()
        await until(lambda: pool.statistics().busy == 0)

    harness.run(test())


def test_a_wish_that_is_not_granted_is_made_again(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, go = harness.pool(slots=1), tmp_path / "go"
    answers = [True, False, False]

    def wants_replacement(reason):
        harness.recorder.replacements.append(reason)
        return answers.pop()

    monkeypatch.setattr(harness.recorder, "wants_replacement", wants_replacement)

    async def test():
        await abandon(pool, go)
        behind = submit(pool, jobs.add, 1)
        await until(lambda: not answers)
        go.touch()
        await behind

    harness.run(test())
    assert len(harness.recorder.replacements) == 3


def test_no_array_is_copied(harness: Harness) -> None:
    array = np.ones(1_000_000)
    pool = harness.pool()

    result = harness.run(pool.run(as_job(jobs.echo), (array,), {}, lane="thread"))

    assert np.shares_memory(result, array)


def pool_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("hybrid-pool")]


def test_threads_are_started_on_demand_and_reused(harness: Harness) -> None:
    pool = harness.pool(slots=4)

    async def test():
        return {await submit(pool, jobs.thread_name) for _ in range(5)}

    assert harness.run(test()) == {"hybrid-pool-0"}
    assert len(pool_threads()) == 1


def test_closing_ends_the_threads(harness: Harness) -> None:
    pool = harness.pool(slots=2)

    async def test():
        await asyncio.gather(*(submit(pool, jobs.sleep, 0.01) for _ in range(4)))
        await pool.close(1.0)

    harness.run(test())
    assert pool_threads() == []


def test_a_closed_lane_gives_its_descriptors_back_and_can_be_closed_again(harness: Harness) -> None:
    pool, before = harness.pool(slots=2), len(os.listdir("/proc/self/fd"))

    async def test():
        await asyncio.gather(*(submit(pool, jobs.sleep, 0.01) for _ in range(4)))
        assert len(pool_threads()) == 2
        await pool.close(1.0)
        await pool.close(1.0)

    harness.run(test())
    assert len(os.listdir("/proc/self/fd")) <= before


class Big:
    """Something whose end can be seen."""


def test_neither_thread_nor_pool_keeps_arguments_or_results_alive(harness: Harness) -> None:
    pool, argument = harness.pool(slots=1), Big()
    watched = weakref.ref(argument)

    async def test(argument):
        await submit(pool, jobs.echo, argument)

    harness.run(test(argument))
    del argument
    gc.collect()
    assert watched() is None


def test_a_job_that_holds_the_gil_is_found_and_named_once(harness: Harness) -> None:
    pool = harness.pool(slots=1)
    spin = job(jobs.spin, releases_gil=True)

    async def test():
        for _ in range(2):
            await pool.run(spin, (0.6,), {})

    harness.run(test())
    advice = [text for text in harness.recorder.warnings if "holds the GIL" in text]
    assert len(advice) == 1
    assert "tests.pool.jobs:spin" in advice[0]


def test_a_job_that_releases_the_gil_is_not_accused(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        await submit(pool, jobs.sleep, 0.4)
        await submit(pool, jobs.multiply, 700)

    harness.run(test())
    assert not [text for text in harness.recorder.warnings if "GIL" in text]


def test_a_job_cannot_make_its_arguments_writable(harness: Harness) -> None:
    pool = harness.pool(slots=1)
    array = np.ones(1000)

    async def test():
        with pytest.raises(ValueError, match="WRITEABLE"):
            await submit(pool, jobs.make_writable, array)

    harness.run(test())
    assert array.all()
