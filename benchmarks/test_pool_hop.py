"""A job's way from the event loop to a lane and back, compared with peers: `make bench`.

Every group holds our lanes and the standard library's pools in the same run,
each driven from an event loop. Ratios of medians are what counts; for a table
of them from interleaved rounds, with an A/A row: ``python -m benchmarks.pool.peers``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from benchmarks.pool.local_pool import NOTHING, PLUS_ONE, LocalPool, nothing, plus_one
from hybrid.core.jobs.admission import AdmissionQueue
from hybrid.core.jobs.ticket import Ticket
from hybrid.pool.job import LaneName
from hybrid.system.memory.permits import Permits, PermitTable
from hybrid.system.scoreboard.scoreboard import Scoreboard

BATCH = 50  # jobs per sample, so that starting the loop counts for nothing


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPool]:
    made = LocalPool(slots=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def executors(local: LocalPool) -> Iterator[dict[str, Executor]]:
    # After `local`: its processes are forked while there is no thread yet.
    made: dict[str, Executor] = {
        "ProcessPoolExecutor": ProcessPoolExecutor(2),
        "ThreadPoolExecutor": ThreadPoolExecutor(2),
    }
    yield made
    for executor in made.values():
        executor.shutdown()


def in_turn(local: LocalPool, once: Callable[[], Awaitable[Any]], times: int) -> None:
    async def all_of_them() -> None:
        for _ in range(times):
            await once()

    local.wait(all_of_them())


@pytest.mark.benchmark(group=f"no-op × {BATCH}, one after the other")
@pytest.mark.parametrize("lane", ["inline", "thread", "process"])
def test_hop_of_hybrid(benchmark: Any, local: LocalPool, lane: LaneName) -> None:
    benchmark(in_turn, local, lambda: local.once(NOTHING, lane, 1), BATCH)


@pytest.mark.benchmark(group=f"no-op × {BATCH}, one after the other")
@pytest.mark.parametrize("name", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_hop_of_peer(
    benchmark: Any, local: LocalPool, executors: dict[str, Executor], name: str
) -> None:
    executor = executors[name]
    benchmark(in_turn, local, lambda: local.loop.run_in_executor(executor, nothing, 1), BATCH)


@pytest.mark.benchmark(group="8 MB of float64, + 1")
@pytest.mark.parametrize("lane", ["inline", "thread", "process"])
def test_array_of_hybrid(benchmark: Any, local: LocalPool, lane: LaneName) -> None:
    array = np.ones(1_000_000)
    benchmark(lambda: local.wait(local.once(PLUS_ONE, lane, array)))


@pytest.mark.benchmark(group="8 MB of float64, + 1")
def test_array_of_hybrid_in_a_block(benchmark: Any, local: LocalPool) -> None:
    array = local.pool.array((1_000_000,), "f8")  # where a request body would lie
    array[:] = 1.0
    benchmark(lambda: local.wait(local.once(PLUS_ONE, "process", array)))


@pytest.mark.benchmark(group="8 MB of float64, + 1")
@pytest.mark.parametrize("name", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_array_of_peer(
    benchmark: Any, local: LocalPool, executors: dict[str, Executor], name: str
) -> None:
    array, executor = np.ones(1_000_000), executors[name]
    benchmark(lambda: local.wait(local.loop.run_in_executor(executor, plus_one, array)))


@pytest.mark.benchmark(group="one job enters and leaves the queue, by its length")
@pytest.mark.parametrize("waiting", [1, 100, 10_000])
def test_queue(benchmark: Any, waiting: int) -> None:
    queue: AdmissionQueue[Ticket] = AdmissionQueue(6, 0)
    for n in range(waiting):
        queue.enter(Ticket(n % 12, 0.0, 1.0))

    def turn() -> None:
        queue.enter(Ticket(8, 0.0, 1.0))
        head = queue.next(range(6))
        assert head is not None
        queue.leave(head)

    benchmark(turn)


@pytest.mark.benchmark(group="a permit, taken and given back")
def test_permit(benchmark: Any) -> None:
    table = PermitTable(2, 4)
    permits = Permits(table, Scoreboard(4), 0)

    def turn() -> None:
        permit = permits.take(1.0)
        assert permit is not None
        permits.keep(permit)
        permits.release()

    benchmark(turn)
    table.close()


def test_the_benchmarks_measure_what_they_say(local: LocalPool) -> None:
    results = local.wait(asyncio.wait_for(local.once(PLUS_ONE, "process", np.zeros(100_000)), 30.0))
    assert (results == 1).all()
