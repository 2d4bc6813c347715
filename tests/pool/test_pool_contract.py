"""One contract, every lane: each test here runs on inline, thread and process."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.core.departure import Departure
from hybrid.core.jobs.ticket import Outcome
from hybrid.errors import (
    JobCancelled,
    JobError,
    JobRefused,
    JobTimeout,
    PoolClosed,
    QueueFull,
)
from hybrid.pool.job import LaneName, as_job, job
from tests.pool import jobs
from tests.pool.conftest import LANES, Harness, until

lanes = pytest.mark.parametrize("lane", LANES)
members = pytest.mark.parametrize("lane", ["thread", "process"])


def run(harness: Harness, fn, *args, lane, pool=None, **kwargs):
    pool = pool or harness.pool()
    return harness.run(pool.run(as_job(fn), args, kwargs, lane=lane))


@lanes
def test_a_result_is_that_of_the_function(harness: Harness, lane: LaneName) -> None:
    assert run(harness, jobs.add, 1, b=2, lane=lane) == 3


@lanes
def test_an_exception_keeps_type_and_message_and_shows_where_it_was_raised(
    harness: Harness, lane: LaneName
) -> None:
    with pytest.raises(KeyError, match="lost") as caught:
        run(harness, jobs.fail, "lost", lane=lane)

    shown = "".join(traceback.format_exception(caught.value))
    assert "in fail" in shown
    assert "raise KeyError(message)" in shown


@lanes
def test_the_cause_of_an_exception_is_shown(harness: Harness, lane: LaneName) -> None:
    with pytest.raises(LookupError, match="second") as caught:
        run(harness, jobs.chain, lane=lane)

    assert "OSError: first" in "".join(traceback.format_exception(caught.value))


@lanes
@pytest.mark.parametrize(("fn", "args"), [(jobs.leave, (3,)), (jobs.stop_iteration, ())])
def test_what_would_stop_the_loop_reaches_the_submitter_as_a_job_error(
    harness: Harness, lane: LaneName, fn: Any, args: Any
) -> None:
    pool = harness.pool()

    with pytest.raises(JobError, match=r"raised (SystemExit|StopIteration)"):
        run(harness, fn, *args, lane=lane, pool=pool)

    assert run(harness, jobs.add, 1, lane=lane, pool=pool) == 2


@lanes
def test_arrays_arrive_as_read_only_views(harness: Harness, lane: LaneName) -> None:
    small, large = np.arange(10.0), np.arange(100_000.0)
    strided = np.arange(200_000.0)[::2]

    flags = run(harness, jobs.flags_of, small, large, strided, named=small, lane=lane)

    assert flags == ([False, False, False], {"named": False})
    assert small.flags.writeable
    assert large.flags.writeable


@lanes
def test_arrays_inside_containers_arrive_as_read_only_views(
    harness: Harness, lane: LaneName
) -> None:
    items = {"a": [np.arange(3)], "b": np.arange(100_000)}

    assert run(harness, jobs.nested_flags, items, lane=lane) == [False, False]


@lanes
def test_writing_to_an_argument_is_an_error_and_changes_nothing(
    harness: Harness, lane: LaneName
) -> None:
    array = np.zeros(100_000)

    with pytest.raises(ValueError, match="read-only"):
        run(harness, jobs.increment, array, lane=lane)

    assert not array.any()


@lanes
@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("writeable", [True, False])
def test_writable_gives_a_private_copy(
    harness: Harness, lane: LaneName, size: int, writeable: Any
) -> None:
    array = np.ones(size)
    array.flags.writeable = writeable
    private = job(jobs.increment, writable=True)

    result = harness.run(harness.pool().run(private, (array,), {}, lane=lane))

    assert (result == 2).all()
    assert (array == 1).all()


@lanes
@pytest.mark.parametrize("shape", [(0,), (3,), (50, 40), (500, 300), (2, 1000, 100)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(
    harness: Harness, lane: LaneName, shape: Any, order: Any
) -> None:
    array = np.asarray(np.random.default_rng(1).normal(size=shape), order=order)

    result = run(harness, jobs.echo, array, lane=lane)

    np.testing.assert_array_equal(result, array)
    assert result.dtype == array.dtype


@lanes
def test_structured_object_and_masked_arrays_travel(harness: Harness, lane: LaneName) -> None:
    structured = np.zeros(9000, dtype=[("x", "f8"), ("n", "i4")])
    objects = np.array([1, "two", None], dtype=object)

    back = run(harness, jobs.echo, [structured, objects], lane=lane)

    np.testing.assert_array_equal(back[0], structured)
    assert back[1].tolist() == [1, "two", None]


@lanes
def test_a_deadline_covers_the_run(harness: Harness, lane: LaneName, tmp_path: Path) -> None:
    pool = harness.pool()

    with pytest.raises(JobTimeout) as caught:
        harness.run(pool.run(as_job(jobs.sleep), (0.3,), {}, lane=lane, deadline=0.1))

    assert caught.value.deadline == 0.1
    assert pool.statistics().outcomes[Outcome.TIMEOUT] == 1


@members
def test_a_deadline_covers_the_wait_and_kills_nobody(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1)
    go = tmp_path / "go"

    async def test():
        first = asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
        await until(lambda: pool.statistics().busy == 1)
        with pytest.raises(JobTimeout, match="waiting in the queue"):
            await pool.run(as_job(jobs.pid), (), {}, lane=lane, deadline=0.05)
        go.touch()
        return await first

    assert harness.run(test())
    statistics = pool.statistics()
    assert (
        statistics.outcomes[Outcome.OK],
        statistics.outcomes[Outcome.TIMEOUT],
        statistics.killed,
    ) == (1, 1, 0)
    assert harness.recorder.count("pool process died") == 0


@members
def test_a_full_queue_refuses_with_a_time_to_retry(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1, queue=2)
    go = tmp_path / "go"

    async def test():
        waiting = [
            asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
            for _ in range(3)
        ]
        await until(lambda: pool.statistics().busy == 1)
        with pytest.raises(QueueFull) as caught:
            await pool.run(as_job(jobs.pid), (), {}, lane=lane)
        go.touch()
        await asyncio.gather(*waiting)
        return caught.value

    error = harness.run(test())
    assert (error.depth, error.limit) == (2, 2)
    assert error.retry_after > 0
    assert pool.statistics().outcomes[Outcome.SHED] == 1
    assert pool.statistics().outcomes[Outcome.OK] == 3


@members
def test_a_cancelled_waiting_job_leaves_the_queue_and_never_runs(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1)
    go, mark = tmp_path / "go", tmp_path / "mark"

    async def test():
        first = asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
        await until(lambda: pool.statistics().busy == 1)
        second = asyncio.ensure_future(
            pool.run(as_job(jobs.started_then_wait), (str(mark), str(go)), {}, lane=lane)
        )
        third = asyncio.ensure_future(pool.run(as_job(jobs.add), (1,), {}, lane=lane))
        await until(lambda: pool.statistics().queued == 2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.statistics().queued == 1
        go.touch()
        await first
        return await third

    assert harness.run(test()) == 2
    assert not mark.exists()
    assert pool.statistics().outcomes[Outcome.CANCELLED] == 1
    assert pool.statistics().killed == 0


@members
def test_a_departed_client_drops_its_waiting_job(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1)
    go, client = tmp_path / "go", Departure()

    async def test():
        first = asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
        await until(lambda: pool.statistics().busy == 1)
        second = asyncio.ensure_future(
            pool.run(as_job(jobs.add), (1,), {}, lane=lane, departure=client)
        )
        await until(lambda: pool.statistics().queued == 1)
        client.trigger()
        with pytest.raises(JobCancelled):
            await second
        go.touch()
        await first

    harness.run(test())
    assert pool.statistics().outcomes[Outcome.CANCELLED] == 1


@members
def test_a_departed_client_is_noticed_before_its_job_is_submitted(
    harness: Harness, lane: LaneName
) -> None:
    pool, client = harness.pool(), Departure()
    client.trigger()

    with pytest.raises(JobCancelled):
        harness.run(pool.run(as_job(jobs.sleep), (0.01,), {}, lane=lane, departure=client))


@members
def test_low_priority_waits_for_normal_and_order_is_kept_inside(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    from hybrid.core.jobs.ticket import Priority

    pool = harness.pool(slots=1)
    go, order = tmp_path / "go", []

    async def numbered(n, priority):
        await pool.run(as_job(jobs.add), (n,), {}, lane=lane, priority=priority)
        order.append(n)

    async def test():
        first = asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
        await until(lambda: pool.statistics().busy == 1)
        later = [
            asyncio.ensure_future(numbered(n, Priority.LOW if n < 3 else Priority.NORMAL))
            for n in range(6)
        ]
        await until(lambda: pool.statistics().queued == 6)
        go.touch()
        await asyncio.gather(first, *later)

    harness.run(test())
    assert order == [3, 4, 5, 0, 1, 2]


@members
def test_as_many_jobs_as_slots_run_at_once_and_no_more(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=3)
    marks = [tmp_path / f"mark{n}" for n in range(5)]
    go = tmp_path / "go"

    async def test():
        running = [
            asyncio.ensure_future(
                pool.run(as_job(jobs.started_then_wait), (str(mark), str(go)), {}, lane=lane)
            )
            for mark in marks
        ]
        await until(lambda: sum(mark.exists() for mark in marks) == 3)
        statistics = pool.statistics()
        assert (statistics.busy, statistics.queued) == (3, 2)
        go.touch()
        return await asyncio.gather(*running)

    pids = harness.run(test())
    if lane == "process":
        assert len(set(pids)) == 3


@lanes
def test_submitting_from_inside_a_job_is_refused(harness: Harness, lane: LaneName) -> None:
    with pytest.raises(JobRefused, match="inside a job"):
        run(harness, jobs.submit_inside, lane=lane)


@lanes
def test_progress_reaches_the_submitter(harness: Harness, lane: LaneName) -> None:
    heard = []
    pool = harness.pool()

    harness.run(
        pool.run(as_job(jobs.steps), (3,), {}, lane=lane, on_progress=lambda *a: heard.append(a))
    )

    assert heard == [(1 / 3, "step 1"), (2 / 3, "step 2"), (1.0, "step 3")]


@lanes
def test_reports_that_come_too_fast_to_be_seen_are_dropped_but_not_the_last(
    harness: Harness, lane: LaneName
) -> None:
    heard = []
    pool = harness.pool()
    report = lambda *a: heard.append(a)  # noqa: E731

    harness.run(pool.run(as_job(jobs.steps), (5000, 0), {}, lane=lane, on_progress=report))

    assert heard[0] == (1 / 5000, "step 1")
    assert heard[-1] == (1.0, "step 5000")
    assert len(heard) < 500


@lanes
def test_times_tell_queue_and_run(harness: Harness, lane: LaneName) -> None:
    pool, times = harness.pool(), []

    harness.run(pool.run(as_job(jobs.sleep), (0.05,), {}, lane=lane, times=times))

    assert [(t.kernel, t.lane, t.slot) for t in times] == [("sleep", lane, 0)]
    assert times[0].run_s >= 0.05
    assert times[0].queue_s >= 0


@members
def test_closing_finishes_what_is_there_and_refuses_what_comes(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1)
    go = tmp_path / "go"

    async def test():
        two = [
            asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
            for _ in range(2)
        ]
        await until(lambda: pool.statistics().busy == 1)
        closing = asyncio.ensure_future(pool.close(10.0))
        await asyncio.sleep(0)
        with pytest.raises(PoolClosed):
            await pool.run(as_job(jobs.add), (1,), {}, lane=lane)
        go.touch()
        results = await asyncio.gather(*two)
        await closing
        return results

    first, second = harness.run(test())
    assert first == second  # one slot: one member ran both


@members
def test_closing_withdraws_what_does_not_finish_in_time(
    harness: Harness, lane: LaneName, tmp_path: Path
) -> None:
    pool = harness.pool(slots=1)
    go = tmp_path / "go"

    async def test():
        two = [
            asyncio.ensure_future(pool.run(as_job(jobs.wait_for), (str(go),), {}, lane=lane))
            for _ in range(2)
        ]
        await until(lambda: pool.statistics().busy == 1)
        await pool.close(0.05)
        results = await asyncio.gather(*two, return_exceptions=True)
        go.touch()
        return results

    assert [type(error) for error in harness.run(test())] == [JobCancelled, JobCancelled]


@lanes
def test_a_hundred_jobs_at_once_all_get_their_own_answer(harness: Harness, lane: LaneName) -> None:
    pool = harness.pool(slots=3, queue=0)

    async def test():
        return await asyncio.gather(
            *(pool.run(as_job(jobs.add), (n,), {"b": n}, lane=lane) for n in range(100))
        )

    assert harness.run(test()) == [2 * n for n in range(100)]
    assert pool.statistics().outcomes[Outcome.OK] == 100
    assert pool.statistics().busy == 0
