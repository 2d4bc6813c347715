"""A pool without a server, for measurements: this process plays primary and worker."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

import numpy as np

from hybrid.config import CpuConfig
from hybrid.http.loops import new_event_loop
from hybrid.pool.arena.worker_resources import WorkerResources, make_worker_resources
from hybrid.pool.job import Job, LaneName, job
from hybrid.pool.pool import Pool
from hybrid.pool.process.member import member_main
from hybrid.pool.process.spawning import SpawnedProcess
from hybrid.system.memory.permits import Permits, PermitTable
from hybrid.system.process.fork import fork_child
from hybrid.system.scoreboard.scoreboard import Scoreboard

T = TypeVar("T")


def nothing(value: Any = None) -> Any:
    """Return the argument: the job that costs nothing."""
    return value


def plus_one(array: Any) -> Any:
    """Add one: reads and writes every byte once."""
    return np.add(array, 1.0)


NOTHING: Job = job(nothing)
PLUS_ONE: Job = job(plus_one)


class LocalSpawner:
    """Forks pool processes from this process; make them before any thread exists."""

    def __init__(self, settings: CpuConfig, resources: WorkerResources) -> None:
        self._settings, self._resources = settings, resources
        self.pids: list[int] = []

    async def spawn(self) -> SpawnedProcess:
        """Return a new pool process."""
        ours, theirs = socket.socketpair()
        fd = self._resources.arena_fd
        child = fork_child(
            lambda: member_main(theirs, self._settings, arena_fd=fd, sys_path=sys.path),
            [theirs.fileno(), *self._resources.fds],
            detach=[ours],
        )
        theirs.close()
        ours.setblocking(False)
        self.pids.append(child.pid)
        return SpawnedProcess(ours, child.pid, child.pidfd)


class LocalPool:
    """A pool with everything on: arena, deadlines, permits; processes are ready."""

    def __init__(self, slots: int, loop: str = "auto") -> None:
        settings = CpuConfig(slots=slots, queue=0)
        self.loop = new_event_loop(loop)
        self._resources = make_worker_resources()
        self._spawner = LocalSpawner(settings, self._resources)
        self._table = PermitTable(max(slots, 1), 32)
        self.pool = Pool(
            settings,
            loop=self.loop,
            permits=Permits(self._table, Scoreboard(32), 0),
            spawner=self._spawner,
            resources=self._resources,
        )
        self.wait(self.pool.warm())

    def wait(self, work: Awaitable[T]) -> T:
        """Run the loop until `work` is done."""

        async def whole() -> T:
            return await work

        return self.loop.run_until_complete(whole())

    def once(self, what: Job, lane: LaneName, *args: Any) -> Awaitable[Any]:
        """Return one job, there and back."""
        # Far away: a pool that has learned from 64 MB jobs would refuse the last of 10,000.
        return self.pool.run(what, args, {}, lane=lane, deadline=3600.0)

    def close(self) -> None:
        """End the processes and the loop."""
        self.wait(self.pool.close(5.0))
        for pid in self._spawner.pids:
            os.waitpid(pid, 0)
        self._resources.close()
        self._table.close()
        asyncio.set_event_loop(None)
        self.loop.close()
