"""Notebook 2: what a blocked loop costs all other requests, against Pollaczek-Khinchine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks.lessons import common
from benchmarks.lessons.common import ms
from hybrid.bench.load.generator import LoadGenerator, LoadResult
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.topology import Topology
from hybrid.bench.theory.formulas import wait_behind_jobs
from hybrid.bench.theory.simulate import waits
from hybrid.bench.theory.statistics import quantile

BLOCK = 0.020  # s a job holds the loop
PROBES = 200.0  # light requests/s that feel it
RATES = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)  # of jobs, per second
INLINE = Topology("1x0", "one process, inline", 1, 0)


@dataclass(frozen=True, slots=True)
class Blocked:
    """What light requests wait where jobs block their loop, at one rate of jobs."""

    jobs: float  # per second
    load: float  # ρ of the loop
    measured: float  # s, mean wait of the light requests
    p99: float | None  # s
    formula: float  # s, Pollaczek-Khinchine
    replayed: float  # s, the simulator fed with the measured arrivals


def obtain(wanted: str | None = None) -> tuple[str, list[Blocked]]:
    """Return the machine's line and the rows; see `common.obtain`."""
    return common.obtain("notebook-02", Blocked, _measure, wanted)


def _measure(full: bool) -> list[Blocked]:
    return blocked_loop(RATES, 6.0) if full else blocked_loop((5.0, 25.0), 1.2)


def blocked_loop(rates: Sequence[float], seconds: float) -> list[Blocked]:
    """Raise the rate of blocking jobs among light requests, on one inline process.

    The job sleeps without giving up the loop: its length is exact whatever the
    cores do, so theory can be held to account on a small and busy machine.
    """
    found = []
    with INLINE.server() as server, LoadGenerator() as generator:
        light = common.alone(server, generator, "/hello")
        for number, rate in enumerate(rates):
            probe = Stream("io", "/hello", PROBES)
            job = Stream("job", f"/cpu/sleep?ms={1e3 * BLOCK:g}", rate)
            plan = LoadPlan(server.host, server.port, (probe, job), duration=seconds, seed=number)
            found.append(_blocked(generator.run(plan), rate, light))
    return found


def _blocked(result: LoadResult, rate: float, light: float) -> Blocked:
    io, job = result.stream("io"), result.stream("job")
    length = float(job["run"].mean()) / 1e3 + light  # what the job really blocked
    delay = io.latency() - light
    kinds = result.records["stream"]
    services = np.where(kinds == 1, length, light)
    replayed = waits(result.records["sent"], services, 1)[kinds == 0]
    return Blocked(
        rate,
        rate * length + PROBES * light,
        float(delay.mean()),
        quantile(delay, 0.99),
        wait_behind_jobs([(rate, length), (PROBES, light)]),
        float(replayed.mean()),
    )


def figure(found: Sequence[Blocked]) -> Figure:
    """Plot the wait against the load: formula, simulation, measurement."""
    picture, axis = plt.subplots(figsize=(6.5, 3.6))
    loads = [each.load for each in found]
    axis.plot(loads, [1e3 * each.formula for each in found], "k-", label="Pollaczek-Khinchine")
    replayed = [1e3 * each.replayed for each in found]
    axis.plot(loads, replayed, "--", color=COLOURS[1], label="simulated from the same arrivals")
    axis.plot(loads, [1e3 * each.measured for each in found], "o", label="measured")
    tails = [(each.load, 1e3 * each.p99) for each in found if each.p99 is not None]
    if tails:
        axis.plot(*zip(*tails, strict=True), "x", color=COLOURS[2], label="measured p99")
    axis.set_xlabel("share of the loop that is busy")
    axis.set_ylabel("wait of a light request, ms")
    axis.legend(fontsize="small")
    axis.grid(alpha=0.3)
    picture.tight_layout()
    return picture


def table(found: Sequence[Blocked]) -> str:
    """Return prediction against measurement as Markdown."""
    return common.table(
        ("jobs/s", "loop busy", "predicted, ms", "simulated, ms", "measured, ms"),
        (
            (f"{e.jobs:g}", f"{e.load:.0%}", ms(e.formula), ms(e.replayed), ms(e.measured))
            for e in found
        ),
    )


def orderings(found: Sequence[Blocked]) -> dict[str, bool]:
    """Return what must hold on any machine: orderings and rough identities."""
    first, last = found[0], found[-1]
    return {
        "more jobs, more wait for those who have none": last.measured > first.measured,
        "at the highest load the mean wait is a good part of a job": (last.measured > 0.1 * BLOCK),
        "the wait is within a factor of three of the simulation of the same arrivals": all(
            each.replayed / 3.0 - 0.001 < each.measured < 3.0 * each.replayed + 0.003
            for each in found
        ),
    }
