"""Jobs and callbacks that misbehave: the pool answers, and stays whole."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.errors import JobOutOfMemory, JobTimeout, PoolBroken
from hybrid.pool.job import LaneName, as_job, job
from hybrid.pool.process.pickling import FrameKind
from hybrid.pool.process.pool_messages import ProcessReady
from tests.pool import jobs
from tests.pool.conftest import LANES, Harness, until

every_lane = pytest.mark.parametrize("lane", LANES)


def submit(pool, fn, *args, lane="process", **options):
    return asyncio.ensure_future(pool.run(as_job(fn), args, {}, lane=lane, **options))


@every_lane
def test_a_progress_callback_that_raises_costs_its_reports_only(
    harness: Harness, lane: LaneName, caplog: pytest.LogCaptureFixture
) -> None:
    pool = harness.pool(slots=1)
    heard = []

    def broken(fraction, note):
        heard.append(fraction)
        raise RuntimeError("not my day")

    async def test():
        result = await submit(pool, jobs.report_often, 100, lane=lane, on_progress=broken)
        assert result == 100
        assert await submit(pool, jobs.add, 1, lane=lane) == 2

    harness.run(test(), 5.0)
    assert len(heard) == 1  # it is not asked again
    assert "on_progress of job report_often raised" in caplog.text


@every_lane
def test_the_end_may_be_said_ten_thousand_times(harness: Harness, lane: LaneName) -> None:
    pool = harness.pool(slots=1)
    heard = []

    async def test():
        await submit(
            pool, jobs.report_the_end, 10_000, lane=lane, on_progress=lambda *a: heard.append(a)
        )
        await asyncio.sleep(0)

    harness.run(test())
    assert heard[0] == (1.0, "0")
    assert len(heard) < 100


def test_a_broadcast_that_never_ends_does_not_shrink_the_pool(
    harness: Harness, tmp_path: Path
) -> None:
    pool = harness.pool(slots=2, kill_grace=0.0)

    async def test():
        await pool.warm()
        with pytest.raises(JobTimeout):
            await pool.broadcast(as_job(jobs.spin_in_a_process), (60.0,), deadline=0.2)
        await until(lambda: pool.statistics().processes == 2)
        found = [submit(pool, jobs.sleep, 0.001) for _ in range(8)]
        assert await asyncio.gather(*found) == [0.001] * 8

    harness.run(test(), 10.0)
    assert harness.recorder.count("pool process killed") == 2


def test_a_broadcast_that_is_late_is_not_run_any_more(harness: Harness, tmp_path: Path) -> None:
    pool, mark = harness.pool(slots=1, kill_grace=0.0), tmp_path / "mark"

    async def test():
        await pool.warm()
        pid = await submit(pool, jobs.pid)
        busy = submit(pool, jobs.sleep, 0.3)
        await until(lambda: pool.statistics().busy == 1)
        with pytest.raises(JobTimeout):
            await pool.broadcast(as_job(jobs.touch_in_a_process), (str(mark),), deadline=0.05)
        assert await busy == 0.3
        assert await submit(pool, jobs.pid) == pid

    harness.run(test(), 10.0)
    assert not mark.exists()


def test_a_job_that_writes_to_its_socket_costs_only_itself(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        with pytest.raises(PoolBroken):
            await submit(pool, jobs.write_to_the_socket, b"what is this? " * 20)
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test(), 10.0)


FORGED = {
    "rubbish": (FrameKind.NOTE, b"rubbish"),
    "an empty answer": (FrameKind.FAILED, b""),
    "a second READY": (FrameKind.READY, pickle.dumps(ProcessReady(0.0))),
    "strange progress": (FrameKind.PROGRESS, pickle.dumps(("half", 1))),
    "a job for its worker": (FrameKind.RUN, pickle.dumps(("os:getpid", (), (), {}))),
}


@pytest.mark.parametrize(("kind", "body"), FORGED.values(), ids=FORGED)
def test_a_job_that_forges_a_frame_costs_only_itself(
    harness: Harness, kind: Any, body: Any
) -> None:
    pool = harness.pool(slots=1)
    frame = (5 + len(body)).to_bytes(4, "big") + bytes([kind]) + bytes(4) + body

    async def test():
        with pytest.raises(PoolBroken):
            await submit(pool, jobs.write_to_the_socket, frame)
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test(), 10.0)


def test_a_private_copy_that_does_not_fit_is_out_of_memory(harness: Harness) -> None:
    pool = harness.pool(slots=1, max_memory=32 * 2**20)
    mine = job(jobs.increment, writable=True)

    async def test():
        await pool.warm()
        with pytest.raises(JobOutOfMemory):
            await pool.run(mine, (np.zeros(25_000_000),), {}, lane="process")
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test(), 10.0)


@every_lane
def test_a_deadline_that_is_no_number_is_refused(harness: Harness, lane: LaneName) -> None:
    pool = harness.pool(slots=1)

    async def test():
        with pytest.raises(ValueError, match="deadline"):
            await submit(pool, jobs.add, 1, lane=lane, deadline=math.nan)
        assert await submit(pool, jobs.add, 1, lane=lane, deadline=1.0) == 2

    harness.run(test(), 10.0)


def test_a_child_that_a_job_forks_cannot_see_arguments(harness: Harness) -> None:
    pool = harness.pool(slots=1)

    async def test():
        status = await submit(pool, jobs.look_from_a_forked_child, np.ones(100_000))
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) in (signal.SIGSEGV, signal.SIGBUS)
        assert await submit(pool, jobs.add, 1) == 2

    harness.run(test())
