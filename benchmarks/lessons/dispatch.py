"""Notebook 5: how connections and jobs find a worker, and what a bad way costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks.lessons import common
from benchmarks.lessons.common import ms
from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.load.records import Floats, Records
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.topology import Topology
from hybrid.bench.theory.formulas import wait_servers
from hybrid.bench.theory.simulate import waits, waits_dispatched
from hybrid.bench.theory.statistics import jain

WORKERS = 4
CONNECTIONS = (8, 32, 128)
POLICIES = ("shared", "reuseport", "round-robin", "least-loaded")
JOB = 0.030  # s; a sleep, so that servers are servers however few the cores
LOAD = 0.75  # of all servers together
QUIET = 10  # requests/s and connection while skew is measured


@dataclass(frozen=True, slots=True)
class Spread:
    """How evenly connections fell on the workers."""

    policy: str
    connections: int
    most: float  # answers of the busiest worker over the mean
    fairness: float  # Jain's index
    expected: float  # of `most`, if each connection chose a worker at random


@dataclass(frozen=True, slots=True)
class Queued:
    """What jobs waited, where the same servers stand behind one queue or several."""

    layout: str
    policy: str
    measured: float  # s, mean
    p95: float  # s
    replayed: float  # s; the simulator, fed with the measured arrivals and workers
    formula: float  # s; M/D/c of one queue, or of each of the private ones fed at random


def obtain(wanted: str | None = None) -> tuple[str, list[Spread], list[Queued]]:
    """Return the machine's line, the spreads and the waits; see `common.obtain`."""
    line, spreads = common.obtain("notebook-05-connections", Spread, _spreads, wanted)
    _, queued = common.obtain("notebook-05-jobs", Queued, _queues, wanted)
    return line, spreads, queued


def _spreads(full: bool) -> list[Spread]:
    found = []
    with LoadGenerator() as generator:
        for policy in POLICIES if full else ("shared", "round-robin"):
            cluster = Topology("4x0", "cluster", WORKERS, 0)
            with cluster.server("--scheduling", policy) as server:
                for connections in CONNECTIONS if full else CONNECTIONS[-1:]:
                    plan = LoadPlan(
                        server.host,
                        server.port,
                        (Stream("io", "/hello", QUIET * connections, arrivals="constant"),),
                        duration=0.5,
                        connections=connections,
                        max_connections=connections,
                    )
                    shares = generator.run(plan).records.shares()
                    found.append(_spread(policy, connections, list(shares.values())))
    return found


def _spread(policy: str, connections: int, shares: list[int]) -> Spread:
    each = [*shares, *[0] * (WORKERS - len(shares))]
    mean = sum(each) / WORKERS
    return Spread(policy, connections, max(each) / mean, jain(each), at_random(connections))


def at_random(connections: int, workers: int = WORKERS) -> float:
    """Return E[max / mean] of connections that choose a worker at random (10⁴ draws)."""
    rng = np.random.default_rng(1)
    draws = rng.multinomial(connections, [1.0 / workers] * workers, size=10_000)
    return float(draws.max(axis=1).mean() * workers / connections)


def _queues(full: bool) -> list[Queued]:
    seconds = 6.0 if full else 1.5
    one = Topology("1x4", "one queue", 1, WORKERS, "thread")
    private = Topology("4x1", "private queues", WORKERS, 1, "thread")
    with LoadGenerator() as generator:
        found = [_queue(generator, one, "shared", seconds)]
        policies = POLICIES if full else POLICIES[:1]
        return found + [_queue(generator, private, each, seconds) for each in policies]


def _queue(generator: LoadGenerator, topology: Topology, policy: str, seconds: float) -> Queued:
    rate = LOAD * WORKERS / JOB
    with topology.server("--scheduling", policy) as server:
        plan = LoadPlan(
            server.host,
            server.port,
            (Stream("job", f"/cpu/sleep?ms={1e3 * JOB:g}", rate),),
            duration=seconds,
            # A fresh connection each: the choice of a worker is made for every job.
            connections=1,
            reconnect_every=1,
        )
        rows = generator.run(plan).records
    rows = rows.where(rows.ok)
    measured = rows["queue"].astype(np.float64) / 1e3
    queues, servers = topology.io_workers, topology.cpu_pool
    length = float(rows["run"].mean()) / 1e3
    return Queued(
        f"{queues} × {servers}",
        policy,
        float(measured.mean()),
        float(np.quantile(measured, 0.95)),
        float(_replayed(rows, servers).mean()),
        wait_servers(rate / queues, length, servers, scv=0.0),
    )


def _replayed(rows: Records, servers: int) -> Floats:
    """Return each job's wait in a simulation of the queue that it really joined."""
    parts = []
    for worker in rows.shares():
        mine = rows.where(rows["worker"] == worker)
        mine = mine.where(np.argsort(mine["sent"], kind="stable"))
        parts.append(waits(mine["sent"], mine["run"].astype(np.float64) / 1e3, servers))
    return np.concatenate(parts)


def simulated(seed: int = 1, jobs: int = 60_000) -> dict[str, float]:
    """Return mean waits in seconds of every way to choose, on the same made-up arrivals."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(JOB / LOAD / WORKERS, jobs))
    services = np.full(jobs, JOB)
    found = {
        f"private queues, {policy}": float(
            waits_dispatched(arrivals, services, WORKERS, 1, policy).mean()
        )
        for policy in ("random", "round-robin", "least-loaded")
    }
    return {**found, "one shared queue": float(waits(arrivals, services, WORKERS).mean())}


def theory() -> dict[str, float]:
    """Return the textbook's mean waits in seconds: M/D/1 of a quarter each, M/D/4 of all."""
    rate = LOAD * WORKERS / JOB
    return {
        "private queues, random": wait_servers(rate / WORKERS, JOB, 1, scv=0.0),
        "one shared queue": wait_servers(rate, JOB, WORKERS, scv=0.0),
    }


def figure(spreads: Sequence[Spread], queued: Sequence[Queued]) -> Figure:
    """Plot the skew of connections, and what jobs waited."""
    picture, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for policy, colour in zip(POLICIES, COLOURS, strict=False):
        points = [(each.connections, each.most) for each in spreads if each.policy == policy]
        if points:
            left.plot(*zip(*points, strict=True), "o-", color=colour, label=policy)
    sizes = sorted({each.connections for each in spreads})
    left.plot(sizes, [at_random(each) for each in sizes], "k--", lw=1, label="random, theory")
    left.set_xscale("log")
    left.set_xlabel("keep-alive connections")
    left.set_ylabel("busiest of four workers / mean")
    left.legend(fontsize="small")
    names = [f"{each.layout}\n{each.policy}" for each in queued]
    spots = np.arange(len(names))
    for shift, name, values in (
        (-0.25, "formula", [each.formula for each in queued]),
        (0.0, "simulated", [each.replayed for each in queued]),
        (0.25, "measured", [each.measured for each in queued]),
    ):
        right.bar(spots + shift, [1e3 * value for value in values], 0.24, label=name)
    right.set_xticks(spots, names)
    right.set_ylabel("mean wait of a job, ms")
    right.legend(fontsize="small")
    picture.tight_layout()
    return picture


def spread_table(found: Sequence[Spread]) -> str:
    """Return the skew of connections as Markdown."""
    return common.table(
        ("scheduling", "connections", "busiest / mean", "at random, expected", "Jain's index"),
        (
            (e.policy, e.connections, f"{e.most:.2f}", f"{e.expected:.2f}", f"{e.fairness:.3f}")
            for e in found
        ),
    )


def queue_table(found: Sequence[Queued]) -> str:
    """Return the waits as Markdown."""
    return common.table(
        (
            "workers × slots", "scheduling", "formula, ms", "simulated, ms", "measured, ms",
            "p95, ms",
        ),
        (
            (e.layout, e.policy, ms(e.formula), ms(e.replayed), ms(e.measured), ms(e.p95))
            for e in found
        ),
    )  # fmt: skip


def simulation_table() -> str:
    """Return the textbook and the simulator side by side, as Markdown."""
    expected = theory()
    return common.table(
        ("way to choose", "textbook, ms", "simulator, ms"),
        ((name, ms(expected.get(name)), ms(value)) for name, value in simulated().items()),
    )


def orderings(spreads: Sequence[Spread], queued: Sequence[Queued]) -> dict[str, bool]:
    """Return what must hold on any machine."""
    one = next(each for each in queued if each.layout.startswith("1 "))
    private = next(e for e in queued if not e.layout.startswith("1 ") and e.policy == "shared")
    made, expected = simulated(), theory()
    return {
        "the simulator agrees with M/D/1 and M/D/4 within 15 %": all(
            abs(made[name] / value - 1.0) < 0.15 for name, value in expected.items()
        ),
        "one shared queue waits less than private ones": one.measured < private.measured,
        "measured waits follow the simulation of the same arrivals (2 ms + 25 %)": all(
            abs(each.measured - each.replayed) < 0.002 + 0.25 * each.replayed for each in queued
        ),
        "nobody does better than the mean": all(each.most >= 1.0 for each in spreads),
    }
