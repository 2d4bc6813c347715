"""What users declare and call."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import hybrid
from hybrid.config import CpuConfig
from hybrid.core.departure import Departure, current_departure
from hybrid.errors import JobCancelled, JobRefused
from hybrid.pool import job as declarations
from hybrid.pool import submit as submitting
from hybrid.pool.job import Job, LaneName, as_job, find_function, find_job, initializer, job
from hybrid.pool.pool import Pool
from hybrid.pool.submit import arena_alloc, broadcast, last_timing, set_current_pool
from tests.pool import jobs
from tests.pool.conftest import Harness


@pytest.fixture
def installed(harness: Harness) -> Iterator[Any]:
    pool = harness.pool()
    set_current_pool(pool)
    yield pool
    set_current_pool(None)


def test_a_job_is_still_a_function() -> None:
    assert jobs.threaded(2) == 4
    assert jobs.threaded.name == "threaded"
    assert jobs.processed.name == "renamed"


def test_the_lane_follows_from_the_declaration() -> None:
    assert jobs.threaded.lane == "thread"
    assert jobs.processed.lane == "process"
    assert as_job(jobs.add).lane == "process"


def test_a_job_travels_by_its_name() -> None:
    assert jobs.threaded.address == "tests.pool.jobs:threaded"
    assert pickle.loads(pickle.dumps(jobs.threaded)) is jobs.threaded
    assert find_function("tests.pool.jobs:threaded") is jobs.threaded.fn
    assert find_job("tests.pool.jobs:add").fn is jobs.add


def test_declaring_twice_is_declaring_again() -> None:
    again = job(jobs.threaded, releases_gil=True, waits=True)

    assert again.fn is jobs.threaded.fn
    assert again.waits
    job(jobs.threaded, releases_gil=True)


def test_a_lambda_is_refused_when_declared_with_the_remedy() -> None:
    with pytest.raises(JobRefused, match=r"lambda.*def"):
        job(lambda: 1)


def test_a_closure_is_refused_when_declared_with_the_remedy() -> None:
    def inner():
        return None

    with pytest.raises(JobRefused, match=r"inside a function.*top level"):
        job(inner)
    assert job(inner, releases_gil=True).lane == "thread"


def test_main_is_refused_when_declared_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.add, "__module__", "__main__")

    with pytest.raises(JobRefused, match=r"__main__.*module"):
        job(jobs.add)


def test_what_is_not_a_function_is_refused() -> None:
    with pytest.raises(JobRefused, match="not a function"):
        as_job(3)  # type: ignore[arg-type]


def test_submit_works_without_a_server() -> None:
    assert asyncio.run(hybrid.submit(jobs.add, 1, b=4)) == 5
    assert asyncio.run(hybrid.submit(lambda: "inline")) == "inline"


def test_without_a_pool_everything_runs_inline_whatever_is_asked_for() -> None:
    assert asyncio.run(hybrid.submit(jobs.pid, lane="process")) == jobs.opened_at


def test_submit_uses_the_workers_pool(harness: Harness, installed: Pool) -> None:
    assert harness.run(hybrid.submit(jobs.processed, 2)) == 6
    assert installed.statistics().processes == 1


def test_an_unknown_lane_is_refused(harness: Harness, installed: Pool) -> None:
    with pytest.raises(JobRefused, match="inline, thread, process"):
        harness.run(hybrid.submit(jobs.add, 1, lane="fiber"))


def test_an_unknown_priority_is_a_value_error(harness: Harness, installed: Pool) -> None:
    with pytest.raises(ValueError, match="urgent"):
        harness.run(hybrid.submit(jobs.add, 1, priority="urgent"))


def test_the_server_may_decide_the_lane_for_all(harness: Harness) -> None:
    pool = harness.pool(lane="process")

    assert harness.run(pool.run(jobs.threaded, (2,), {})) == 4
    assert pool.statistics().processes == 1


def test_times_are_kept_for_the_request(harness: Harness, installed: Pool) -> None:
    async def request():
        current_departure.set(Departure())
        await hybrid.submit(jobs.threaded, 1)
        await hybrid.submit(jobs.processed, 1)
        return current_departure.get().times, last_timing()

    times, last = harness.run(request())
    assert [t.kernel for t in times] == ["threaded", "renamed"]
    assert last is times[-1]


def test_the_departure_of_the_current_request_counts(harness: Harness, installed: Pool) -> None:
    client = Departure()

    async def request():
        current_departure.set(client)
        asyncio.get_running_loop().call_later(0.05, client.trigger)
        await hybrid.submit(jobs.spin, 60.0)

    with pytest.raises(JobCancelled):
        harness.run(request())


def test_arena_alloc_is_a_plain_array_without_a_server() -> None:
    async def test():
        return arena_alloc((3, 4), "f4")

    array = asyncio.run(test())
    assert array.shape == (3, 4)
    assert array.flags.writeable


def test_broadcast_reaches_this_worker_and_every_process(harness: Harness, installed: Pool) -> None:
    async def test():
        await installed.warm()
        pids = await broadcast(jobs.remember, "everywhere")
        values = await broadcast(jobs.remembered)
        return pids, values

    pids, values = harness.run(test())
    assert len(set(pids)) == 3
    assert values == ["everywhere"] * 3


def test_broadcast_waits_for_a_busy_process_and_disturbs_nobody(
    harness: Harness, installed: Pool
) -> None:
    async def test():
        await installed.warm()
        busy = asyncio.ensure_future(installed.run(as_job(jobs.sleep), (0.1,), {}, lane="process"))
        await asyncio.sleep(0)
        pids = await broadcast(jobs.pid)
        assert await busy == 0.1
        return pids

    assert len(set(harness.run(test()))) == 3


def test_broadcast_survives_a_death(harness: Harness, installed: Pool) -> None:
    async def test():
        await installed.warm()
        with pytest.raises(hybrid.PoolBroken):
            await broadcast(jobs.exit_unless, jobs.opened_at)
        return await hybrid.submit(jobs.processed, 1)

    assert harness.run(test()) == 3


@pytest.fixture
def declared_initializer(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(declarations, "_initializers", {})
    jobs.prepared.clear()
    initializer(jobs.prepare)


@pytest.mark.parametrize("lane", ["inline", "thread", "process"])
def test_an_initialiser_runs_once_before_the_first_job(
    harness: Harness, declared_initializer: Any, lane: LaneName
) -> None:
    pool = harness.pool(slots=2)

    async def test():
        calls = (pool.run(as_job(jobs.prepared_here), (), {}, lane=lane) for _ in range(4))
        return await asyncio.gather(*calls)

    assert harness.run(test()) == [True] * 4


def test_a_worker_is_warm_only_after_its_own_initialisers(
    harness: Harness, declared_initializer: Any
) -> None:
    pool = harness.pool(lane="thread")

    harness.run(pool.warm())

    assert jobs.prepared == [os.getpid()]


def test_an_initialiser_that_raises_keeps_the_worker_from_being_ready(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declarations, "_initializers", {"tests.pool.jobs:stop_iteration": None})
    pool = harness.pool(lane="thread")

    with pytest.raises(hybrid.PoolBroken, match="initialiser of this worker raised StopIteration"):
        harness.run(pool.warm())


def test_a_pool_process_that_cannot_get_ready_is_an_error_with_its_reason(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declarations, "_initializers", {"no.such.module:f": None})
    pool = harness.pool()

    with pytest.raises(hybrid.PoolBroken, match=r"no\.such|No module named 'no'"):
        harness.run(pool.warm())
    with pytest.raises(hybrid.PoolBroken, match="could not get ready"):
        harness.run(pool.run(as_job(jobs.add), (1,), {}, lane="process"))


def test_departure_calls_back_once_and_can_be_taken_back() -> None:
    heard: list[str] = []
    client = Departure()
    take_back = client.on(lambda: heard.append("a"))
    client.on(lambda: heard.append("b"))
    take_back()

    client.trigger()
    client.trigger()
    client.on(lambda: heard.append("late"))

    assert heard == ["b", "late"]
    assert client.happened


def test_the_inline_pool_of_a_script_belongs_to_its_loop() -> None:
    asyncio.run(hybrid.submit(jobs.add, 1))
    first = submitting._inline
    asyncio.run(hybrid.submit(jobs.add, 1))

    assert submitting._inline is not first


def test_a_pool_without_hatchery_refuses_the_process_lane_only(harness: Harness) -> None:
    pool = Pool(CpuConfig(slots=1), loop=harness.loop)

    with pytest.raises(JobRefused, match="none can be made here"):
        harness.run(pool.run(as_job(jobs.add), (1,), {}))
    assert harness.run(pool.run(jobs.threaded, (np.ones(2),), {})).tolist() == [2, 2]
    harness.run(pool.close(0.0))


def test_job_is_a_value() -> None:
    assert Job(jobs.add, "add", "m", "q") == Job(jobs.add, "add", "m", "q")
