"""Pools for tests, with pool processes forked by the test process itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.config import CpuConfig
from hybrid.errors import PoolBroken
from hybrid.http.loops import new_event_loop
from hybrid.pool.arena.worker_resources import WorkerResources, make_worker_resources
from hybrid.pool.pool import Pool
from hybrid.pool.process.member import member_main
from hybrid.pool.process.spawning import SpawnedProcess
from hybrid.system.process.fork import fork_child

LANES = ("inline", "thread", "process")


@dataclass
class LocalSpawner:
    """Forks pool processes from the test process: a verified stand-in for the primary."""

    settings: CpuConfig
    resources: WorkerResources
    pids: list[int] = field(default_factory=list)
    refuse: str = ""
    stop_new: bool = False  # a new process is stopped before it can get ready

    async def spawn(self) -> SpawnedProcess:
        if self.refuse:
            raise PoolBroken(self.refuse)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        child = fork_child(
            lambda: member_main(
                theirs, self.settings, arena_fd=self.resources.arena_fd, sys_path=sys.path
            ),
            [theirs.fileno(), *self.resources.fds],
            detach=[ours],
        )
        theirs.close()
        self.pids.append(child.pid)
        if self.stop_new:
            os.kill(child.pid, signal.SIGSTOP)
        return SpawnedProcess(ours, child.pid, child.pidfd)

    def alive(self) -> list[int]:
        """Return the processes that have not ended; those that have are reaped at the end."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return [pid for pid in self.pids if os.waitid(os.P_PID, pid, options) is None]

    def reap(self) -> None:
        """Wait until every process is gone; they leave at EOF."""
        end = time.monotonic() + 10
        for pid in self.pids:
            while True:
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG)[0] == 0:
                        assert time.monotonic() < end, f"pool process {pid} is still there"
                        time.sleep(0.001)
                        continue
                break


@dataclass
class Recorder:
    """An observer that remembers."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    replacements: list[str] = field(default_factory=list)

    def happened(self, event: str, **facts: object) -> None:
        self.events.append((event, facts))

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def wants_replacement(self, reason: str) -> bool:
        self.replacements.append(reason)
        return True

    def count(self, event: str) -> int:
        return sum(name == event for name, _ in self.events)


class Harness:
    """Makes pools, runs a test's coroutine, and ends everything."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.recorder = Recorder()
        self._pools: list[Pool] = []
        self._spawners: list[LocalSpawner] = []

    def pool(
        self,
        *,
        arena: bool = True,
        permits: Any = None,
        start_timeout: float = 0.0,
        **settings: Any,
    ) -> Pool:
        cpu = CpuConfig(**{"slots": 2, "kill_grace": 0.05, "nice": 0, **settings})
        resources = make_worker_resources() if arena else WorkerResources(None)
        spawner = LocalSpawner(cpu, resources)
        self._spawners.append(spawner)
        pool = Pool(
            cpu,
            loop=self.loop,
            permits=permits,
            spawner=spawner,
            resources=resources,
            observer=self.recorder,
            start_timeout=start_timeout,
        )
        self._pools.append(pool)
        return pool

    @property
    def spawner(self) -> LocalSpawner:
        return self._spawners[-1]

    def run(self, test: Awaitable[Any], seconds: float = 30.0) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(test, seconds))

    def close(self) -> None:
        for pool in self._pools:
            self.loop.run_until_complete(pool.close(0.0))
        for spawner in self._spawners:
            spawner.reap()
            spawner.resources.close()


@pytest.fixture(params=["uvloop", "asyncio"])
def harness(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.ERROR, "hybrid.error")
    loop = new_event_loop(request.param)
    asyncio.set_event_loop(loop)
    fds = len(os.listdir("/proc/self/fd"))
    made = Harness(loop)
    try:
        yield made
        made.close()
        assert len(os.listdir("/proc/self/fd")) <= fds + 3  # the loop's own pipes
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def is_in_arena(array: np.ndarray[Any, Any]) -> bool:
    """Return whether the memory of `array` belongs to the mapping of an arena."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:hybrid-arena" in line:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if first <= address < last:
                return True
    return False


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let the loop run until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.001)
