"""`hybrid.run`: what synchronous code calls."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid
from hybrid.core.departure import Departure, current_departure
from hybrid.core.jobs.ticket import Outcome
from hybrid.errors import JobCancelled, JobRefused, JobTimeout, PoolClosed, QueueFull
from hybrid.pool.submit import current_pool, set_current_pool
from tests.pool import jobs
from tests.pool.conftest import until


@pytest.fixture
def install(harness: Any) -> Any:
    def make(**settings: Any) -> Any:
        pool = harness.pool(**settings)
        set_current_pool(pool)
        return pool

    yield make
    set_current_pool(None)


def in_thread(harness: Any, call: Callable[[], Any]) -> Any:
    """Call something in a thread while the loop runs; return its result."""
    return harness.run(asyncio.to_thread(call))


def test_a_thread_gets_the_result_of_the_worker_s_pool(harness: Any, install: Any) -> None:
    install()
    result, pid = in_thread(harness, lambda: (hybrid.run(jobs.threaded, 2), hybrid.run(jobs.pid)))
    assert result == 4
    assert pid not in (0, os.getpid())


def test_arrays_arrive_and_exceptions_have_their_traceback(harness: Any, install: Any) -> None:
    install()

    def call() -> None:
        total = hybrid.run(jobs.total, np.ones(100_000))
        assert total == 100_000
        with pytest.raises(KeyError) as caught:
            hybrid.run(jobs.fail, "of the job")
        assert "in fail" in str(caught.value.__cause__)

    in_thread(harness, call)


def test_the_deadline_and_the_queue_are_the_pool_s(harness: Any, install: Any) -> None:
    install(slots=1, queue=1)
    entered = [threading.Event() for _ in range(2)]
    outcomes: list[type[BaseException]] = []

    def run(entry: threading.Event) -> None:
        entry.set()
        try:
            hybrid.run(jobs.sleep, 60, deadline=0.5)
        except hybrid.JobError as ex:
            outcomes.append(type(ex))

    async def main() -> None:
        threads = [asyncio.create_task(asyncio.to_thread(run, entry)) for entry in entered]
        await until(lambda: current_pool().statistics().queued == 1)
        with pytest.raises(QueueFull):
            await asyncio.to_thread(hybrid.run, jobs.sleep, 60)
        await asyncio.gather(*threads)

    harness.run(main())
    assert outcomes == [JobTimeout, JobTimeout]


def test_a_client_that_leaves_takes_its_job_with_it(harness: Any, install: Any) -> None:
    pool = install()
    departure = Departure()

    async def main() -> None:
        current_departure.set(departure)
        task = asyncio.create_task(asyncio.to_thread(hybrid.run, jobs.sleep, 60))
        await until(lambda: pool.statistics().busy == 1)
        departure.trigger()
        with pytest.raises(JobCancelled):
            await task

    harness.run(main())
    assert pool.statistics().outcomes[Outcome.CANCELLED] == 1


def test_the_times_of_the_job_are_those_of_the_request(harness: Any, install: Any) -> None:
    install()

    async def main() -> None:
        current_departure.set(Departure())
        await asyncio.to_thread(hybrid.run, jobs.threaded, 2)
        timing = hybrid.last_timing()
        assert timing is not None
        assert timing.kernel == "threaded"

    harness.run(main())


def test_a_closed_pool_says_so(harness: Any, install: Any) -> None:
    pool = install()

    async def main() -> None:
        await pool.close()
        with pytest.raises(PoolClosed):
            await asyncio.to_thread(hybrid.run, jobs.threaded, 2)

    harness.run(main())


def test_an_event_loop_is_not_blocked(harness: Any) -> None:
    async def main() -> None:
        with pytest.raises(JobRefused, match=r"await hybrid\.submit"):
            hybrid.run(jobs.threaded, 2)

    harness.run(main())


def test_inside_a_job_it_is_refused() -> None:
    with pytest.raises(JobRefused, match="inside a job"):
        hybrid.run(nested)


def nested() -> Any:
    return hybrid.run(jobs.threaded, 2)


def test_an_array_made_in_a_thread_is_an_ordinary_one(harness: Any, install: Any) -> None:
    install()
    array = in_thread(harness, lambda: hybrid.arena_alloc((100_000,), "f8"))
    assert array.shape == (100_000,)


# -- without a server -----------------------------------------------------------------


def test_without_a_server_it_runs_here() -> None:
    heard: list[tuple[float, str]] = []
    assert hybrid.run(jobs.pid) == os.getpid()
    assert hybrid.run(lambda a, b=0: a + b, 1, b=2) == 3
    with pytest.raises(KeyError):
        hybrid.run(jobs.fail, "of the job")
    with pytest.raises(JobTimeout):
        hybrid.run(jobs.threaded, 2, deadline=0.0)
    hybrid.run(telling, on_progress=lambda fraction, note: heard.append((fraction, note)))
    assert heard == [(0.5, "half")]


def telling() -> None:
    hybrid.progress(0.5, "half")


def test_threads_of_a_script_run_one_after_the_other() -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(hybrid.run(jobs.threaded, 2)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [4] * 8


def test_a_script_needs_two_lines() -> None:
    code = "import hybrid, math\nprint(hybrid.run(math.gcd, 12, 18))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("6\n", "")
