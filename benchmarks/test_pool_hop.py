"""A job's way from the event loop to a lane and back: `make bench`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hybrid.config import CpuConfig
from hybrid.core.ticket import Priority
from hybrid.pool.hatchery import Hatched
from hybrid.pool.job import Job, job
from hybrid.pool.member import member_main
from hybrid.pool.pool import Pool
from hybrid.pool.resources import make_worker_resources
from hybrid.system.fork import fork_child
from workloads.kernels.rounding import significant

NOTHING = job(significant, releases_gil=True)  # a job that does next to nothing
PLUS_ONE = job(np.negative, releases_gil=True, name="negative")


class LocalHatchery:
    """Forks pool processes from this process, which has one thread when it does."""

    def __init__(self, settings: CpuConfig, arena_fd: int | None) -> None:
        self._settings, self._arena_fd = settings, arena_fd
        self.pids: list[int] = []

    async def hatch(self) -> Hatched:
        """Return a new pool process."""
        ours, theirs = socket.socketpair()
        keep = [theirs.fileno()] + ([self._arena_fd] if self._arena_fd is not None else [])
        child = fork_child(
            lambda: member_main(theirs, self._settings, arena_fd=self._arena_fd),
            keep,
            detach=[ours],
        )
        theirs.close()
        ours.setblocking(False)
        self.pids.append(child.pid)
        return Hatched(ours, child.pid, child.pidfd)


@pytest.fixture
def run() -> Iterator[Callable[[Job, str, Any], Any]]:
    """Give a function of (job, lane, argument): one job, there and back."""
    settings = CpuConfig(slots=1, nice=0)
    resources = make_worker_resources()
    hatchery = LocalHatchery(settings, resources.arena_fd)
    loop = asyncio.new_event_loop()

    async def make() -> Pool:
        return Pool(settings, loop=loop, hatchery=hatchery, resources=resources)

    pool = loop.run_until_complete(make())

    def once(what: Job, lane: Any, argument: Any) -> Any:
        return loop.run_until_complete(
            pool.run(
                what,
                (argument,),
                {},
                deadline=30.0,
                lane=lane,
                priority=Priority.NORMAL,
                departure=None,
            )
        )

    once(NOTHING, "process", 1.0)  # forks it before any pool thread exists
    yield once
    loop.run_until_complete(pool.close(5.0))
    loop.close()
    for pid in hatchery.pids:
        os.waitpid(pid, 0)
    resources.close()


@pytest.mark.parametrize("lane", ["inline", "thread", "process"])
def test_hop(benchmark: Any, run: Any, lane: str) -> None:
    """Time a job that does nothing."""
    benchmark.group = "hop"
    assert benchmark(run, NOTHING, lane, 1.0) == 1.0


@pytest.mark.parametrize("lane", ["thread", "process"])
def test_hop_of_8_megabytes(benchmark: Any, run: Any, lane: str) -> None:
    """Time a job that gets 8 MB of float64 and returns as much."""
    benchmark.group = "8 MB"
    array = np.ones(1_000_000)
    assert benchmark(run, PLUS_ONE, lane, array)[0] == -1.0


def test_hop_of_the_standard_library(benchmark: Any) -> None:
    """Time the same job in concurrent.futures' process pool."""
    benchmark.group = "hop"
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        assert benchmark(lambda: pool.submit(significant, 1.0).result()) == 1.0


def test_8_megabytes_in_the_standard_library(benchmark: Any) -> None:
    """Time 8 MB through concurrent.futures' process pool."""
    benchmark.group = "8 MB"
    array = np.ones(1_000_000)
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        assert benchmark(lambda: pool.submit(np.negative, array).result())[0] == -1.0
