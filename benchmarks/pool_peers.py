"""Our pool beside the pools people use: ``python -m benchmarks.pool_peers``.

Every case runs all contestants in interleaved rounds, in an order shuffled per
round, so that a slow moment of the machine hits everybody; the median of each
contestant's rounds is divided by ours. The A/A row is ourselves a second time:
a ratio nearer to 1 than its distance from 1 means nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.local_pool import NOTHING, PLUS_ONE, LocalPool, nothing, plus_one
from hybrid.pool.job import Job, LaneName

SLOTS = 8
Once = Callable[[], Awaitable[Any]]
Sample = Callable[[], float]  # seconds per job


class PingPong:
    """The floor: one byte to another process and back, both sides blocking."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            while theirs.recv(1):
                theirs.send(b"x")
            os._exit(0)
        theirs.close()

    def sample(self, times: int) -> float:
        """Return seconds per round trip."""
        started = time.perf_counter()
        for _ in range(times):
            self._ours.send(b"x")
            self._ours.recv(1)
        return (time.perf_counter() - started) / times

    def close(self) -> None:
        """End the other process."""
        self._ours.close()
        os.waitpid(self._pid, 0)


class Contest:
    """The contestants, all alive for the whole run."""

    def __init__(self) -> None:
        self.floor = PingPong()
        self.local = LocalPool(SLOTS)
        self.peers: dict[str, Executor] = {
            "ProcessPoolExecutor": ProcessPoolExecutor(SLOTS),
            "ThreadPoolExecutor": ThreadPoolExecutor(SLOTS),
        }
        if importlib.util.find_spec("loky"):
            import loky

            self.peers["loky"] = loky.ProcessPoolExecutor(SLOTS)
        self.multiprocessing = multiprocessing.get_context("forkserver").Pool(SLOTS)

    def ours(self, what: Job, lane: LaneName, *args: Any) -> Once:
        """One job on a lane of ours."""
        return lambda: self.local.once(what, lane, *args)

    def theirs(self, name: str, fn: Callable[..., Any], *args: Any) -> Once:
        """One job of a peer, from the same event loop."""
        return lambda: self.local.loop.run_in_executor(self.peers[name], fn, *args)

    def multi(self, fn: Callable[..., Any], *args: Any) -> Once:
        """One job of multiprocessing.Pool, from the same event loop."""

        def once() -> Awaitable[Any]:
            loop, future = self.local.loop, self.local.loop.create_future()

            def done(value: Any) -> None:
                loop.call_soon_threadsafe(future.set_result, value)

            self.multiprocessing.apply_async(fn, args, callback=done)
            return future

        return once

    def in_turn(self, once: Once, times: int) -> Sample:
        """Sample one job after the other."""
        return self.at_once(once, times, 1)

    def at_once(self, once: Once, times: int, flight: int) -> Sample:
        """Sample with so many jobs in flight."""

        async def one_after_the_other() -> None:
            for _ in range(times // flight):
                await once()

        async def all_of_them() -> None:
            await asyncio.gather(*(one_after_the_other() for _ in range(flight)))

        def sample() -> float:
            started = time.perf_counter()
            self.local.wait(all_of_them())
            return (time.perf_counter() - started) / times

        return sample

    def close(self) -> None:
        """End everybody."""
        self.floor.close()
        for executor in self.peers.values():
            executor.shutdown()
        self.multiprocessing.terminate()
        self.multiprocessing.join()
        self.local.close()


def compare(title: str, contestants: dict[str, Sample], rounds: int) -> None:
    """Print a table; the first contestant is the unit."""
    ours = next(iter(contestants))
    samples: dict[str, list[float]] = {name: [] for name in (*contestants, "A/A")}
    entries = [*contestants.items(), ("A/A", contestants[ours])]
    for turn in range(rounds + 1):
        random.Random(turn).shuffle(entries)
        for name, sample in entries:
            seconds = sample()
            if turn:  # the first round warms up
                samples[name].append(seconds)
    unit = statistics.median(samples[ours])
    print(f"\n{title}  ({rounds} interleaved rounds)")
    print(f"  {'':28}{'median':>12}{'to ours':>10}{'quartiles':>24}")
    for name, values in samples.items():
        low, median, high = statistics.quantiles(values, n=4)
        spread = f"{low * 1e6:.1f} – {high * 1e6:.1f} µs"
        print(f"  {name:28}{median * 1e6:>9.1f} µs{median / unit:>10.2f}{spread:>24}")


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="few jobs per round: does it run?")
    options = parser.parse_args()
    scale = 20 if options.quick else 1
    contest = Contest()
    try:
        _run(contest, max(options.rounds, 2), scale)
    finally:
        contest.close()


def _run(c: Contest, rounds: int, scale: int) -> None:
    n = 1000 // scale
    processes = [name for name in c.peers if name != "ThreadPoolExecutor"]

    compare(
        "no-op, process lane, one after the other",
        {
            "hybrid process": c.in_turn(c.ours(NOTHING, "process", 1), n),
            **{name: c.in_turn(c.theirs(name, nothing, 1), n // 2) for name in processes},
            "multiprocessing.Pool": c.in_turn(c.multi(nothing, 1), n // 2),
            "socket ping-pong (floor)": lambda: c.floor.sample(n),
        },
        rounds,
    )
    compare(
        "no-op, thread lane, one after the other",
        {
            "hybrid thread": c.in_turn(c.ours(NOTHING, "thread", 1), n),
            "loop.run_in_executor": c.in_turn(c.theirs("ThreadPoolExecutor", nothing, 1), n),
        },
        rounds,
    )
    compare(
        "no-op, process lane, 8 in flight",
        {
            "hybrid process": c.at_once(c.ours(NOTHING, "process", 1), 10 * n, 8),
            **{name: c.at_once(c.theirs(name, nothing, 1), 2 * n, 8) for name in processes},
            "multiprocessing.Pool": c.at_once(c.multi(nothing, 1), 2 * n, 8),
        },
        rounds,
    )
    for megabytes, times in ((8, max(1, 20 // scale)), (64, max(1, 4 // scale))):
        array = np.ones(megabytes * 125_000)
        block = c.local.pool.array(array.shape, array.dtype)
        block[:] = array
        compare(
            f"{megabytes} MB of float64, + 1, process lane",
            {
                "hybrid, from a block": c.in_turn(c.ours(PLUS_ONE, "process", block), times),
                "hybrid, from anywhere": c.in_turn(c.ours(PLUS_ONE, "process", array), times),
                **{name: c.in_turn(c.theirs(name, plus_one, array), times) for name in processes},
                "hybrid thread": c.in_turn(c.ours(PLUS_ONE, "thread", array), times),
            },
            rounds,
        )


if __name__ == "__main__":
    main()
