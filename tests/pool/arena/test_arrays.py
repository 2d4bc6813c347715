"""Arrays across the process boundary: where they lie, who frees them, who may see them."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.pool.arena.blocks import Blocks
from hybrid.pool.job import as_job
from hybrid.system.memory.arena import create_arena
from tests.pool import jobs
from tests.pool.conftest import Harness, is_in_arena, until

LARGE = 1_000_000  # float64: 8 MB


def arena_bytes(harness):
    return os.fstat(harness.spawner.resources.arena_fd).st_blocks * 512


def mappings(pid):
    return Path(f"/proc/{pid}/maps").read_text()


def submit(pool, fn, *args, **options):
    return asyncio.ensure_future(pool.run(as_job(fn), args, {}, lane="process", **options))


def test_a_large_array_goes_through_the_arena_and_comes_back(harness: Harness) -> None:
    pool = harness.pool()
    array = np.arange(float(LARGE))

    result = harness.run(pool.run(as_job(jobs.add), (array,), {}, lane="process"))

    np.testing.assert_array_equal(result, array + 1)
    assert result.flags.writeable
    assert is_in_arena(result)


def test_blocks_are_aligned_to_cache_lines(harness: Harness) -> None:
    pool = harness.pool()

    assert (
        harness.run(pool.run(as_job(jobs.address_of), (np.ones(LARGE),), {}, lane="process")) == 0
    )
    assert pool.array((LARGE,), "f8").__array_interface__["data"][0] % 64 == 0


def test_an_array_that_lies_in_a_block_is_not_copied_again(harness: Harness) -> None:
    pool = harness.pool()
    array = pool.array((LARGE,), "f8")
    array[:] = 2.0
    before = arena_bytes(harness)

    async def test():
        assert await submit(pool, jobs.total, array) == 2.0 * LARGE
        assert await submit(pool, jobs.total, array[LARGE // 2 :]) == LARGE

    harness.run(test())
    assert arena_bytes(harness) - before < 64 * 1024


def test_a_result_handed_to_another_job_is_not_copied_again(harness: Harness) -> None:
    pool = harness.pool()

    async def test():
        first = await submit(pool, jobs.add, np.ones(LARGE))
        before = arena_bytes(harness)
        assert await submit(pool, jobs.total, first) == 2 * LARGE
        return arena_bytes(harness) - before

    assert harness.run(test()) < 64 * 1024


def test_a_result_lives_as_long_as_any_view_of_it(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        first = (await submit(pool, jobs.add, np.ones(LARGE)))[10:20]
        gc.collect()
        for _ in range(4):  # blocks are reused by size: these would land in its place
            await submit(pool, jobs.add, np.zeros(LARGE))
        return first

    assert harness.run(test()).tolist() == [2.0] * 10


def test_a_result_survives_the_death_of_its_process(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        first = await submit(pool, jobs.add, np.ones(LARGE))
        os.kill(harness.spawner.pids[0], 9)
        await until(lambda: len(harness.spawner.pids) == 2)
        for _ in range(3):
            await submit(pool, jobs.add, np.zeros(LARGE))
        return first

    assert (harness.run(test()) == 2.0).all()


def test_memory_returns_to_the_system_when_idle(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        for _ in range(3):
            await submit(pool, jobs.add, np.ones(LARGE))
        assert arena_bytes(harness) >= 8 * LARGE
        await until(lambda: arena_bytes(harness) < 2**20)

    harness.run(test())


def test_memory_that_the_process_knows_to_be_free_returns_too(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        await submit(pool, jobs.add, np.ones(LARGE))
        assert await submit(pool, jobs.add, 1) == 2  # tells it that nobody looks at the result
        await until(lambda: arena_bytes(harness) == 0)

    harness.run(test())


def test_memory_does_not_grow_with_the_number_of_jobs(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        for _ in range(50):
            await submit(pool, jobs.add, np.ones(LARGE))

    harness.run(test())
    assert arena_bytes(harness) <= 6 * 8 * LARGE


def test_a_job_that_keeps_a_reference_never_sees_the_next_clients_data(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        assert await submit(pool, jobs.keep, np.full(LARGE, 7.0)) == 7.0
        for n in range(5):
            await submit(pool, jobs.total, np.full(LARGE, float(n)))
        return await submit(pool, jobs.kept_value)

    assert harness.run(test()) == 7.0
    assert any("kept a reference" in text for text in harness.recorder.warnings)


def test_garbage_in_a_cycle_is_no_kept_reference(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    harness.run(pool.run(as_job(jobs.makes_a_cycle), (np.ones(LARGE),), {}, lane="process"))

    assert harness.recorder.warnings == []


def test_quarantine_ends_with_the_process(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        await submit(pool, jobs.keep, np.full(LARGE, 7.0))
        os.kill(harness.spawner.pids[0], 9)
        await until(lambda: arena_bytes(harness) < 2**20)

    harness.run(test())


def test_nothing_is_left_in_dev_shm(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        await submit(pool, jobs.add, np.ones(LARGE))
        for pid in (os.getpid(), *harness.spawner.pids):
            maps = mappings(pid)
            assert "/memfd:hybrid-arena (deleted)" in maps  # it has no name to be left behind
            assert "/dev/shm/" not in maps

    harness.run(test())


def test_arena_arrays_are_plain_where_they_are_small(harness: Harness) -> None:
    pool = harness.pool()

    small = pool.array((10, 2), "i4")

    assert small.shape == (10, 2)
    assert not is_in_arena(small)


@pytest.mark.parametrize("n", [8192, 8193, 100_000, 3_000_001])
def test_every_size_comes_back_whole(harness: Harness, n: int) -> None:
    array = np.random.default_rng(n).normal(size=n)

    result = harness.run(harness.pool().run(as_job(jobs.echo), (array,), {}, lane="process"))

    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("is_taken_again", [False, True])
def test_a_result_that_outlives_its_process_leaves_no_pages(is_taken_again: Any) -> None:
    arena = create_arena()
    assert arena is not None
    blocks = Blocks(arena, lambda: None)
    loan = blocks.lend_region()
    assert loan is not None
    result = loan.adopt(loan.info().start, 800_000)
    result[:] = b"x" * 800_000
    loan.end()  # as when a process leaves by plan: its replacement has another region
    blocks.tidy()
    assert os.fstat(arena).st_blocks > 0
    assert bytes(result[:3]) == b"xxx"

    del result
    if is_taken_again:
        blocks.lend_region().info()
    blocks.tidy()

    assert os.fstat(arena).st_blocks == 0
    os.close(arena)


def test_a_thread_that_a_job_leaves_running_keeps_the_arguments_memory(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        await submit(pool, jobs.leave_a_thread, np.ones(LARGE))
        assert await submit(pool, jobs.end_the_thread) is True
        await submit(pool, jobs.total, np.ones(LARGE))

    harness.run(test())
    (warning,) = harness.recorder.warnings
    assert "left a thread running" in warning
