"""Everything at once, at random: afterwards the pool is whole and nothing is held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hybrid.core.departure import Departure
from hybrid.errors import HybridError
from hybrid.pool.job import as_job
from hybrid.system.memory.permits import Permits, PermitTable
from hybrid.system.process.fork import fork_child
from hybrid.system.scoreboard.scoreboard import Scoreboard
from tests.pool import jobs
from tests.pool.conftest import Harness, until

SLOTS, PERMITS, SECONDS = 3, 2, 3.0
LARGE = 100_000  # float64: 800 kB


@pytest.fixture
def table() -> Iterator[Any]:
    made = PermitTable(PERMITS, 4)
    yield made
    made.close()


def permits_in_use(table: PermitTable) -> int:
    """Ask a process that holds none: the kernel does not show a process its own locks."""
    asked = fork_child(table.in_use, keep=[table.fd])
    os.close(asked.pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(asked.pid, 0)[1])


async def one_call(pool, rng):
    """Submit one job with random habits; check its answer if it gets one."""
    lane = rng.choice(("thread", "process", "process"))
    number = rng.random()
    choice = rng.randrange(6)
    options = {"lane": lane, "deadline": rng.choice((0.005, 0.05, 5.0, 5.0))}
    departure = Departure()
    if choice == 0:
        asyncio.get_running_loop().call_later(rng.random() / 20, departure.trigger)
        options["departure"] = departure
    if choice <= 2:
        work = pool.run(as_job(jobs.total), (np.full(LARGE, number),), {}, **options)
        expected = pytest.approx(LARGE * number)
    elif choice == 3:
        work = pool.run(as_job(jobs.echo), (np.full(LARGE, number),), {}, **options)
        expected = number
    elif choice == 4:
        work = pool.run(as_job(jobs.sleep), (number / 20,), {}, **options)
        expected = number / 20
    else:
        work = pool.run(as_job(jobs.exit_now), (), {}, lane="process", deadline=5.0)
        expected = None
    task = asyncio.ensure_future(work)
    if rng.random() < 0.1:
        asyncio.get_running_loop().call_later(rng.random() / 20, task.cancel)
    with contextlib.suppress(HybridError, asyncio.CancelledError):
        answer = await task
        if isinstance(answer, np.ndarray):
            assert (answer == expected).all()
        else:
            assert answer == expected


async def client(pool, rng, end):
    while time.monotonic() < end:
        await one_call(pool, rng)


async def killer(harness, rng, end):
    while time.monotonic() < end:
        await asyncio.sleep(rng.random() / 5)
        pids = harness.spawner.alive()
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), rng.choice((signal.SIGKILL, signal.SIGSEGV)))


async def caller(pool, rng, end):
    while time.monotonic() < end:
        await asyncio.sleep(rng.random() / 5)
        deadline = rng.choice((0.001, 1.0))
        with contextlib.suppress(HybridError):
            await pool.broadcast(as_job(jobs.sleep), (0.01,), deadline=deadline)


@pytest.mark.parametrize("seed", range(3))
def test_after_any_chaos_the_pool_is_whole_and_nothing_is_held(
    harness: Harness, table: PermitTable, seed: int
) -> None:
    pool = harness.pool(
        slots=SLOTS, queue=8, kill_grace=0.01, max_jobs=20, permits=Permits(table, Scoreboard(4), 0)
    )
    rng = random.Random(seed)

    async def test():
        await pool.warm()
        end = time.monotonic() + SECONDS
        parts = [client(pool, rng, end) for _ in range(8)]
        await asyncio.gather(*parts, killer(harness, rng, end), caller(pool, rng, end))

        await until(lambda: pool.statistics().processes >= SLOTS, 20.0)  # 2 a second, at least
        await until(lambda: (pool.statistics().busy, pool.statistics().queued) == (0, 0))
        assert pool.statistics().abandoned == 0
        await until(lambda: permits_in_use(table) == 0)
        await until(lambda: os.fstat(harness.spawner.resources.arena_fd).st_blocks == 0)
        expected = [pool.run(as_job(jobs.add), (n,), {}, lane="process") for n in range(SLOTS)]
        assert await asyncio.gather(*expected) == [1, 2, 3]

    harness.run(test(), 60.0)
