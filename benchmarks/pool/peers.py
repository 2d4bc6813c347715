"""Our pool compared with the pools people use: part of ``make bench-pool``.

Every case runs all contestants in interleaved rounds, in an order shuffled per
round, so that a slow moment of the machine hits every pool; the median of each
contestant's rounds is divided by ours. The A/A row is ourselves a second time:
a ratio nearer to 1 than its distance from 1 means nothing.

Ours runs with everything on: arena, deadlines, permits, niceness, GIL watch.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool.local_pool import NOTHING, PLUS_ONE, LocalPool, nothing, plus_one
from benchmarks.pool.peer_tools import Piscina, find_loky
from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.pool.job import Job, LaneName

SLOTS = 8
RESULTS = Path(__file__).parents[1] / "results" / "pool_peers.json"
Once = Callable[[], Awaitable[Any]]
Sample = Callable[[], float]  # seconds per job


class PingPong:
    """The floor: one byte to another process and back, both sides blocking."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._cpus = os.sched_getaffinity(0)
        self._pid = os.fork()
        if self._pid == 0:
            os.sched_setaffinity(0, {max(self._cpus)})
            self._ours.close()
            while theirs.recv(1):
                theirs.send(b"x")
            os._exit(0)
        theirs.close()

    def sample(self, times: int) -> float:
        """Return seconds per round trip between two CPUs."""
        os.sched_setaffinity(0, {min(self._cpus)})
        started = time.perf_counter()
        for _ in range(times):
            self._ours.send(b"x")
            self._ours.recv(1)
        ended = time.perf_counter()
        os.sched_setaffinity(0, self._cpus)
        return (ended - started) / times

    def close(self) -> None:
        """End the other process; it may not see EOF, as peers that fork hold our end as well."""
        self._ours.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class Contest:
    """The contestants, all alive for the whole run."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.floor = PingPong()
        self.local = LocalPool(SLOTS)  # before any peer: it forks, and they start threads
        self.peers: dict[str, Executor] = {
            "ProcessPoolExecutor": ProcessPoolExecutor(SLOTS),
            "ThreadPoolExecutor": ThreadPoolExecutor(SLOTS),
        }
        if find_loky():
            import loky  # type: ignore[import-not-found, unused-ignore]

            self.peers["loky"] = loky.get_reusable_executor(SLOTS, timeout=3600)
        else:
            self.missing.append("loky")
        self.multiprocessing = multiprocessing.get_context("forkserver").Pool(SLOTS)
        self.node: Piscina | None = None
        try:
            self.node = Piscina(SLOTS)
        except OSError as ex:
            self.missing.append(f"piscina ({ex})")

    @property
    def process_peers(self) -> list[str]:
        """Executors whose jobs run in processes."""
        return [name for name in self.peers if name != "ThreadPoolExecutor"]

    def piscina(self, case: str, **how: int) -> dict[str, Sample]:
        """Return Node's row, empty where there is no node."""
        node = self.node
        return {} if node is None else {"piscina (Node threads)": lambda: node.sample(case, **how)}

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
        """Sample with a number of jobs in flight."""

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

    def placed(self, sample: Sample, loop: int, threads: int) -> Sample:
        """Sample with the loop on one CPU and every other thread of this process on another."""

        def put(own: set[int], others: set[int]) -> None:
            for task in map(int, os.listdir("/proc/self/task")):
                os.sched_setaffinity(task, own if task == os.getpid() else others)

        def there() -> float:
            cpus = os.sched_getaffinity(0)
            put({loop}, {threads})
            try:
                return sample()
            finally:
                put(cpus, cpus)

        return there

    def close(self) -> None:
        """End every peer."""
        self.floor.close()
        for executor in self.peers.values():
            executor.shutdown()
        if self.node is not None:
            self.node.close()
        self.multiprocessing.terminate()
        self.multiprocessing.join()
        self.local.close()


class Table:
    """Runs cases, prints each as a table and keeps it as data."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.cases: list[dict[str, Any]] = []

    def compare(self, title: str, contestants: dict[str, Sample], goals: dict[str, float]) -> None:
        """Measure and print; the first contestant is the unit.

        Args:
            title: of the case.
            contestants: seconds per job, by name.
            goals: least ratio to ours, by contestant (ours may be at most 1 / goal of it).
        """
        ours = next(iter(contestants))
        samples: dict[str, list[float]] = {name: [] for name in (*contestants, "A/A")}
        entries = [*contestants.items(), ("A/A", contestants[ours])]
        for turn in range(self.rounds + 1):
            random.Random(turn).shuffle(entries)
            for name, sample in entries:
                seconds = sample()
                if turn:  # the first round warms up
                    samples[name].append(seconds)
        unit = statistics.median(samples[ours])
        rows = [_row(name, values, unit, goals.get(name)) for name, values in samples.items()]
        self.cases.append({"case": title, "rounds": self.rounds, "unit": ours, "rows": rows})
        print(f"\n{title}  ({self.rounds} interleaved rounds)")
        print(f"  {'':28}{'median':>12}{'to ours':>10}{'goal':>9}{'quartiles':>24}")
        for row in rows:
            print(_line(row))
        sys.stdout.flush()


def _row(name: str, values: list[float], unit: float, goal: float | None) -> dict[str, Any]:
    low, median, high = (1e6 * each for each in statistics.quantiles(values, n=4))
    ratio = median / (1e6 * unit)
    return {
        "name": name,
        "median_us": round(median, 2),
        "low_us": round(low, 2),
        "high_us": round(high, 2),
        "to_ours": round(ratio, 3),
        "goal": goal,
        "reached": None if goal is None else ratio >= goal,
    }


def _line(row: dict[str, Any]) -> str:
    goal = "" if row["goal"] is None else f"≥ {row['goal']:.2f}"
    spread = f"{row['low_us']:.1f} – {row['high_us']:.1f} µs"
    missed = "  missed" if row["reached"] is False else ""
    return (
        f"  {row['name']:28}{row['median_us']:>9.1f} µs{row['to_ours']:>10.2f}{goal:>9}"
        f"{spread:>24}{missed}"
    )


def hops(c: Contest, table: Table, n: int) -> None:
    """Jobs that cost nothing: there and back."""
    table.compare(
        "no-op, process lane, one after the other",
        {
            "hybrid process": c.in_turn(c.ours(NOTHING, "process", 1), n),
            **{name: c.in_turn(c.theirs(name, nothing, 1), n // 2) for name in c.process_peers},
            "multiprocessing.Pool": c.in_turn(c.multi(nothing, 1), n // 2),
            **c.piscina("nothing", times=n),
            "socket ping-pong (floor)": lambda: c.floor.sample(n),
        },
        {"ProcessPoolExecutor": 1 / 0.6, "socket ping-pong (floor)": 1 / 2.2},
    )
    threads = {
        "hybrid thread": c.in_turn(c.ours(NOTHING, "thread", 1), n),
        "loop.run_in_executor": c.in_turn(c.theirs("ThreadPoolExecutor", nothing, 1), n),
    }
    table.compare("no-op, thread lane, one after the other", threads, {"loop.run_in_executor": 1.0})
    # Why: where the scheduler puts the thread decides more than any code does.
    cpus = os.sched_getaffinity(0)
    for where, loop, others in (
        ("on the loop's CPU", min(cpus), min(cpus)),
        ("on another CPU", min(cpus), max(cpus)),
    ):
        table.compare(
            f"no-op, thread lane, thread {where}",
            {name: c.placed(sample, loop, others) for name, sample in threads.items()},
            {},
        )
    table.compare(
        "no-op, process lane, 8 in flight",
        {
            "hybrid process": c.at_once(c.ours(NOTHING, "process", 1), 10 * n, 8),
            **{name: c.at_once(c.theirs(name, nothing, 1), 2 * n, 8) for name in c.process_peers},
            "multiprocessing.Pool": c.at_once(c.multi(nothing, 1), 2 * n, 8),
            **c.piscina("nothing", times=10 * n, flight=8),
        },
        {"ProcessPoolExecutor": 4.0},
    )


def arrays(c: Contest, table: Table, scale: int) -> None:
    """Large arrays: in, + 1, out."""
    for megabytes, times in ((8, max(1, 10 // scale)), (64, max(1, 2 // scale))):
        array = np.ones(megabytes * 125_000)
        block = c.local.pool.array(array.shape, array.dtype)
        block[:] = array
        numbers = len(array)
        table.compare(
            f"{megabytes} MB of float64, + 1, process lane",
            {
                "hybrid, from a block": c.in_turn(c.ours(PLUS_ONE, "process", block), times),
                "hybrid, from anywhere": c.in_turn(c.ours(PLUS_ONE, "process", array), times),
                **{
                    name: c.in_turn(c.theirs(name, plus_one, array), times)
                    for name in c.process_peers
                },
                **c.piscina("plusOne", times=times, numbers=numbers),
                "hybrid thread": c.in_turn(c.ours(PLUS_ONE, "thread", array), times),
                "here, no pool": lambda array=array: _alone(array),
            },
            {"ProcessPoolExecutor": 20.0, "piscina (Node threads)": 0.5},
        )


def _alone(array: Any) -> float:
    started = time.perf_counter()
    plus_one(array)
    return time.perf_counter() - started


def queue_growth(c: Contest, table: Table, most: int) -> None:
    """What one job costs, by how many are in line."""
    lengths = [n for n in (10, 1, 100, 1000, 10_000) if n <= most]
    rows = {n: c.at_once(c.ours(NOTHING, "process", 1), max(n, 200), n) for n in lengths}
    table.compare(
        "no-op, process lane, per job when so many are submitted at once",
        {
            **{f"{n} in line": sample for n, sample in rows.items()},
            f"{lengths[-1]}, no collector": _uncollected(rows[lengths[-1]]),
        },
        {},
    )


def _uncollected(sample: Sample) -> Sample:
    """Sample without Python's cycle collector, which visits every waiting task again and again."""

    def without() -> float:
        gc.disable()
        try:
            return sample()
        finally:
            gc.enable()

    return without


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("cases", nargs="*", help="of hops, arrays, queue; none: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="few jobs per round: does it run?")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    scale = 20 if options.quick else 1
    here, table = fingerprint(), Table(max(options.rounds, 2))
    contest = Contest()
    try:
        chosen = options.cases or ["hops", "arrays", "queue"]
        if "hops" in chosen:
            hops(contest, table, 1000 // scale)
        if "arrays" in chosen:
            arrays(contest, table, scale)
        if "queue" in chosen:
            queue_growth(contest, table, 10_000 // scale)
    finally:
        contest.close()
    print(f"\n{one_line(here)}" + "".join(f"; without {each}" for each in contest.missing))
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(
        json.dumps({"machine": here, "missing": contest.missing, "cases": table.cases}, indent=1)
    )


if __name__ == "__main__":
    main()
