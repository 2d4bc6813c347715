"""The process lane: death, kill, replacement, recycling, memory, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.core.departure import Departure
from hybrid.core.jobs.ticket import Outcome
from hybrid.errors import (
    DeadlineTooShort,
    JobCancelled,
    JobOutOfMemory,
    JobRefused,
    JobTimeout,
    PoolBroken,
    ResultNotPicklable,
)
from hybrid.pool.job import Job, LaneName, as_job
from hybrid.pool.process.answers import RemoteTraceback
from hybrid.pool.process.process_link import ProcessLink
from tests.pool import jobs
from tests.pool.conftest import Harness, until


def submit(pool, fn, *args, lane="process", **options):
    return asyncio.ensure_future(pool.run(as_job(fn), args, {}, lane=lane, **options))


async def is_whole(pool, processes):
    """The pool is back at its size, and every slot works."""
    await until(lambda: pool.statistics().busy == 0)
    await until(lambda: pool.statistics().processes == processes)
    assert await submit(pool, jobs.add, 1) == 2


def test_a_process_says_ready_only_after_the_job_modules_are_imported(harness: Harness) -> None:
    pool = harness.pool(slots=2)

    harness.run(pool.warm())

    assert pool.statistics().processes == 2
    assert harness.recorder.count("pool process ready") == 2
    assert harness.recorder.warnings == []


def test_modules_that_are_slow_to_import_are_told_of_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid.pool.process.process_lane._SLOW_IMPORT", 0.0)
    pool = harness.pool(slots=2)

    harness.run(pool.warm())

    (warning,) = harness.recorder.warnings
    assert "importing" in warning
    assert "--preload" in warning


def test_processes_start_on_demand_and_not_before(harness: Harness) -> None:
    pool = harness.pool(slots=4)

    async def test():
        assert pool.statistics().processes == 0
        await submit(pool, jobs.add, 1)
        await submit(pool, jobs.add, 1)

    harness.run(test())
    assert pool.statistics().processes == 1


def test_the_remote_traceback_is_the_cause(harness: Harness) -> None:
    with pytest.raises(KeyError) as caught:
        harness.run(submit_in(harness, jobs.fail, "x"))

    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)


async def submit_in(harness, fn, *args, **settings):
    return await submit(harness.pool(**settings), fn, *args)


@pytest.mark.parametrize(
    "fn", [jobs.exit_now, jobs.segfault, jobs.close_sockets, jobs.fork_and_exit]
)
def test_a_process_that_dies_costs_exactly_its_job(
    harness: Harness, fn: Any, tmp_path: Path
) -> None:
    pool = harness.pool(slots=2)
    go = tmp_path / "go"

    async def test():
        await pool.warm()
        neighbour = submit(pool, jobs.wait_for, str(go))
        await until(lambda: pool.statistics().busy == 1)
        with pytest.raises(PoolBroken, match=fn.__name__):
            await submit(pool, fn)
        go.touch()
        assert await neighbour in harness.spawner.pids
        await is_whole(pool, 2)

    harness.run(test())
    assert pool.statistics().outcomes[Outcome.BROKEN] == 1


def test_a_process_that_dies_idle_costs_nothing(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        pid = await submit(pool, jobs.pid)
        os.kill(pid, 9)
        other = await submit(pool, jobs.pid)
        assert other != pid
        await is_whole(pool, 1)

    harness.run(test())
    assert pool.statistics().outcomes[Outcome.BROKEN] == 0


def test_a_job_over_its_deadline_is_answered_then_killed_alone(
    harness: Harness, tmp_path: Path
) -> None:
    pool = harness.pool(slots=2)
    go = tmp_path / "go"

    async def test():
        await pool.warm()
        neighbour = submit(pool, jobs.wait_for, str(go))
        with pytest.raises(JobTimeout, match="running"):
            await submit(pool, jobs.spin, 60.0, deadline=0.1)
        statistics = pool.statistics()
        assert (statistics.busy, statistics.abandoned) == (2, 1)  # the slot is still taken
        await until(lambda: pool.statistics().killed == 1)
        go.touch()
        assert await neighbour
        await is_whole(pool, 2)

    harness.run(test())
    assert pool.statistics().abandoned == 0


def test_a_job_that_ends_within_the_grace_keeps_its_process(harness: Harness) -> None:
    pool = harness.pool(slots=1, kill_grace=20.0)

    async def test():
        pid = await submit(pool, jobs.pid)
        with pytest.raises(JobTimeout):
            await submit(pool, jobs.sleep, 0.15, deadline=0.05)
        assert await submit(pool, jobs.pid) == pid

    harness.run(test())
    assert pool.statistics().killed == 0


def test_a_departed_client_stops_its_running_job(harness: Harness) -> None:
    pool, client = harness.pool(slots=1), Departure()

    async def test():
        await pool.warm()
        running = submit(pool, jobs.spin, 60.0, departure=client)
        await until(lambda: pool.statistics().busy == 1)
        client.trigger()
        with pytest.raises(JobCancelled):
            await running
        await until(lambda: pool.statistics().killed == 1)
        await is_whole(pool, 1)

    harness.run(test())


def test_the_pool_keeps_its_size_after_many_deaths(harness: Harness) -> None:
    pool = harness.pool(slots=2)

    async def test():
        for _ in range(3):
            with pytest.raises(PoolBroken):
                await submit(pool, jobs.exit_now)
        await is_whole(pool, 1)

    harness.run(test())


def test_a_death_in_the_moment_when_a_replacement_arrives_is_replaced_too(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = harness.pool(slots=2)
    links, send_hello = [], ProcessLink.send_hello

    def greet_while_another_dies(link, hello):
        send_hello(link, hello)
        links.append(link)
        if harness.recorder.count("pool process died") == 1:
            _first, second, _replacement = links
            asyncio.get_running_loop().call_soon(second._lose)

    monkeypatch.setattr(ProcessLink, "send_hello", greet_while_another_dies)

    async def test():
        await pool.warm()
        os.kill(links[0].pid, signal.SIGKILL)
        await until(lambda: harness.recorder.count("pool process died") == 2)
        await is_whole(pool, 2)

    harness.run(test())


def test_replacements_are_rate_limited(harness: Harness) -> None:
    pool = harness.pool(slots=1, kill_grace=0.0)

    async def test():
        for _ in range(8):
            with pytest.raises(PoolBroken):
                await submit(pool, jobs.exit_now)

    harness.run(test())
    assert harness.recorder.count("pool process delayed") >= 1


def test_nobody_hangs_when_no_process_can_be_made(harness: Harness) -> None:
    pool = harness.pool(slots=2)
    harness.spawner.refuse = "no room for a process"

    with pytest.raises(PoolBroken, match="no room"):
        harness.run(submit_it(pool))

    harness.spawner.refuse = ""
    assert harness.run(submit_it(pool)) == 2


async def submit_it(pool):
    return await submit(pool, jobs.add, 1)


def test_arguments_that_cannot_travel_are_refused_and_the_slot_is_free(harness: Harness) -> None:
    pool = harness.pool(slots=1)
    harness.run(pool.warm())

    with pytest.raises(JobRefused, match=r"arguments of job echo .*lock"):
        harness.run(pool.run(as_job(jobs.echo), (threading.Lock(),), {}, lane="process"))

    assert pool.statistics().busy == 0
    assert harness.run(submit_it(pool)) == 2


@pytest.mark.parametrize("fn", [jobs.returns_lock, jobs.fail_with_lock, jobs.fail_awkwardly])
def test_an_answer_that_cannot_travel_names_the_type(harness: Harness, fn: Any) -> None:
    with pytest.raises(ResultNotPicklable, match=r"_thread\.lock|ValueError|Awkward"):
        harness.run(submit_in(harness, fn))


def test_a_missing_function_is_a_refusal_not_a_broken_pool(harness: Harness) -> None:
    ghost = Job(jobs.add, "ghost", "tests.pool.jobs", "nowhere")
    pool = harness.pool(slots=1)

    with pytest.raises(JobRefused, match="nowhere"):
        harness.run(pool.run(ghost, (), {}, lane="process"))
    assert harness.run(submit_it(pool)) == 2


def test_a_job_that_eats_all_memory_dies_alone(harness: Harness) -> None:
    pool = harness.pool(slots=1, max_memory=400 * 2**20)

    with pytest.raises(JobOutOfMemory, match="more memory"):
        harness.run(pool.run(as_job(jobs.eat), (800,), {}, lane="process"))

    assert harness.run(submit_it(pool)) == 2


def test_a_process_is_replaced_after_its_share_of_jobs_replacement_first(harness: Harness) -> None:
    pool = harness.pool(slots=1, max_jobs=3)
    pids = []

    async def test():
        for _ in range(12):
            pids.append(await submit(pool, jobs.pid))
            assert pool.statistics().processes >= 1
            await asyncio.sleep(0.02)

    harness.run(test())
    assert len(set(pids)) >= 3
    assert pool.statistics().outcomes[Outcome.BROKEN] == 0


def test_a_process_that_has_grown_is_replaced(harness: Harness) -> None:
    pool = harness.pool(slots=1, max_rss=1)

    async def test():
        first = await submit(pool, jobs.pid)
        await until(lambda: harness.recorder.count("pool process replaced") >= 1)
        assert await submit(pool, jobs.pid) != first

    harness.run(test())


def test_signals_for_the_whole_group_do_not_end_a_process(harness: Harness) -> None:
    assert harness.run(submit_in(harness, jobs.signals_then, 0.05)) == "alive"


def test_a_job_may_run_subprocesses(harness: Harness) -> None:
    assert harness.run(submit_in(harness, jobs.run_subprocess)) == 0


def test_priority_and_oom_score_are_those_of_a_pool_process(harness: Harness) -> None:
    assert harness.run(submit_in(harness, jobs.nice, nice=7)) == 7
    assert harness.run(submit_in(harness, jobs.oom_score)) == 800


@pytest.mark.parametrize("lane", ["thread", "process"])
@pytest.mark.parametrize("threads", [1, 2])
def test_blas_threads_are_what_was_asked_for(
    harness: Harness, threads: Any, lane: LaneName
) -> None:
    pool = harness.pool(blas_threads=threads)

    async def test():
        await pool.warm()
        return await submit(pool, jobs.blas, lane=lane)

    assert harness.run(test()) == threads


def test_a_large_argument_without_an_arena_travels_in_the_frame(harness: Harness) -> None:
    array = np.arange(3_000_000.0)

    result = harness.run(submit_in(harness, jobs.echo, array, arena=False))

    np.testing.assert_array_equal(result, array)


def test_lambdas_and_closures_are_refused_on_the_process_lane(harness: Harness) -> None:
    pool = harness.pool()

    with pytest.raises(JobRefused, match="lambda"):
        harness.run(pool.run(as_job(lambda: 1), (), {}, lane="process"))


def test_a_waiting_process_job_does_not_hold_up_a_thread_job(harness: Harness) -> None:
    pool = harness.pool(slots=2)
    harness.spawner.spawn = never

    async def test():
        waiting = submit(pool, jobs.add, 1)
        await asyncio.sleep(0)
        assert await submit(pool, jobs.add, 2, lane="thread") == 3
        waiting.cancel()

    harness.run(test())


async def never():
    await asyncio.Event().wait()


def test_an_argument_that_cannot_travel_loses_no_block(harness: Harness) -> None:
    """What was to be said with a refused job is said with the next one."""
    pool = harness.pool(slots=1)
    large = np.ones(1_000_000)

    async def test():
        for _ in range(20):
            await submit(pool, jobs.echo, large)  # the answer's block is over at once
            with pytest.raises(JobRefused):
                await submit(pool, jobs.echo, threading.Lock())

    harness.run(test())
    pages = os.fstat(harness.spawner.resources.arena_fd).st_blocks * 512
    assert 0 < pages <= 5 * large.nbytes  # arguments and answers; 20 blocks if each were lost


def test_closing_in_the_middle_of_a_broadcast_answers_it(harness: Harness, tmp_path: Path) -> None:
    pool, go = harness.pool(slots=2), tmp_path / "go"

    async def test():
        await pool.warm()
        job, marks = as_job(jobs.started_here_then_wait), str(tmp_path / "started")
        answers = asyncio.ensure_future(pool.broadcast(job, (marks, str(go))))
        await until(lambda: len(list(tmp_path.glob("started-*"))) == 3)  # everywhere
        await pool.close(0.0)
        with pytest.raises((PoolBroken, JobCancelled)):
            await asyncio.wait_for(answers, 5.0)
        go.touch()  # the thread that nobody waits for
        await until(lambda: "hybrid-pool-0" not in [t.name for t in threading.enumerate()])

    harness.run(test())


def test_a_deadline_that_the_queue_cannot_meet_is_refused_with_a_time(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        behind = [submit(pool, jobs.sleep, 0.02) for _ in range(12)]
        await asyncio.gather(*behind)  # the pool knows its rate now
        behind = [submit(pool, jobs.sleep, 0.02) for _ in range(40)]
        await asyncio.sleep(0)
        with pytest.raises(DeadlineTooShort) as refused:
            await submit(pool, jobs.sleep, 0.02, deadline=0.2)
        assert 0.1 <= refused.value.retry_after < 10.0
        patient = submit(pool, jobs.sleep, 0.02, deadline=60.0)
        await asyncio.gather(*behind, patient)

    harness.run(test())
    assert pool.statistics().outcomes[Outcome.SHED] == 1
    assert pool.statistics().outcomes[Outcome.TIMEOUT] == 0


def test_a_process_that_hangs_while_it_gets_ready_is_replaced(harness: Harness) -> None:
    pool = harness.pool(slots=1, start_timeout=0.2)

    async def test():
        first = await submit(pool, jobs.pid)
        harness.spawner.stop_new = True
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(harness.spawner.pids) == 2)
        harness.spawner.stop_new = False
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test())
    assert len(harness.spawner.pids) == 3
    assert "is not ready after 0.2 s" in harness.recorder.warnings[0]
