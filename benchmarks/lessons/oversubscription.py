"""Notebook 6: many more jobs at once than CPUs, BLAS threads on top, and niceness."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks.lessons import common
from benchmarks.lessons.common import ms
from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.served import Server
from hybrid.bench.server.topology import Topology, cpus

CLIENTS = 32  # that always have a job to ask for
PROBES = 100.0  # light requests/s while the jobs run
EVENLY = ("--scheduling", "round-robin")  # four clients for each of eight workers
PYTHON = "/cpu/primes?n=150000"
PRODUCT = "/cpu/matmul?n=600"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to start the server."""

    name: str
    topology: Topology
    job: str
    more: tuple[str, ...] = ()  # further flags


@dataclass(frozen=True, slots=True)
class Crowded:
    """What a saturated server does."""

    name: str
    allowed: int  # jobs at once
    cpus: int
    alone: float  # s a job runs when it is alone
    run: float  # s it runs in the crowd
    rate: float  # jobs/s
    running: float  # jobs at once, by Little's law: rate × run
    io_mean: float  # s a light request takes while they run
    io_p95: float  # s
    seconds: float = 3.0  # measured

    @property
    def steady(self) -> bool:
        """Whether the window is long enough for Little's law: several answers per client."""
        return self.rate * self.seconds >= 2 * CLIENTS

    @property
    def predicted_run(self) -> float:
        """Seconds if `allowed` jobs shared the CPUs evenly (processor sharing)."""
        return self.alone * max(self.allowed / self.cpus, 1.0)


def variants() -> tuple[Variant, ...]:
    """Return the ways that are compared; the first and the second need no long run."""
    limited = Topology("8x4", "8 × 4, one job per CPU", 8, 4, "process", "auto")
    crowd = Topology("8x4∞", "8 × 4, no limit", 8, 4, "process", "none")
    blas = Topology("1xT", "threads", 1, cpus(), "thread", "auto")
    return (
        Variant("8 × 4 processes, limit auto", limited, PYTHON),
        Variant("8 × 4 processes, no limit", crowd, PYTHON),
        Variant("… limit auto, nice 0", limited, PYTHON, ("--cpu-nice", "0")),
        Variant("… no limit, nice 0", crowd, PYTHON, ("--cpu-nice", "0")),
        Variant("numpy, 1 BLAS thread a slot", blas, PRODUCT),
        Variant("numpy, 8 BLAS threads a slot", blas, PRODUCT, ("--blas-threads", "8")),
    )


def obtain(wanted: str | None = None) -> tuple[str, list[Crowded]]:
    """Return the machine's line and the rows; see `common.obtain`."""
    return common.obtain("notebook-06", Crowded, _measure, wanted)


def _measure(full: bool) -> list[Crowded]:
    chosen, seconds = (variants(), 3.0) if full else (variants()[:2], 1.0)
    with LoadGenerator() as jobs, LoadGenerator() as probes:
        return [_crowded(each, jobs, probes, seconds) for each in chosen]


def _crowded(
    variant: Variant, jobs: LoadGenerator, probes: LoadGenerator, seconds: float
) -> Crowded:
    topology = variant.topology
    with topology.server(*EVENLY, *variant.more) as server:
        alone = common.mean_of(common.closed(server, jobs, variant.job, 1, 0.5), "run")
        io, busy = _together(server, variant.job, jobs, probes, seconds)
    run = float(busy["run"].mean()) / 1e3
    rate = len(busy) / seconds
    slots = topology.io_workers * topology.cpu_pool
    allowed = cpus() if topology.cpu_limit == "auto" else slots
    return Crowded(
        variant.name,
        min(allowed, slots, CLIENTS),
        cpus(),
        alone,
        run,
        rate,
        rate * run,
        float(io.mean()),
        float(np.quantile(io, 0.95)),
        seconds,
    )


def _together(
    server: Server, path: str, jobs: LoadGenerator, probes: LoadGenerator, seconds: float
) -> tuple[common.Floats, common.Records]:
    """Return light latencies, and the jobs answered in the same time."""
    settle = 0.5 * seconds  # the crowd forms; every pool process has started
    jobs.start(common.closed_plan(server, path, CLIENTS, settle + seconds))
    time.sleep(settle)
    probe = (Stream("io", "/hello", PROBES),)
    plan = LoadPlan(server.host, server.port, probe, duration=seconds, timeout=30.0)
    io = probes.run(plan).stream("io").latency()
    rows = jobs.finish().records
    done = np.nan_to_num(rows["done"], nan=-1.0)
    return io[np.isfinite(io)], rows.where((done >= settle) & (done < settle + seconds))


def figure(found: Sequence[Crowded]) -> Figure:
    """Plot run time against prediction, throughput, and the light requests."""
    picture, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True)
    names = [each.name for each in found]
    spots = np.arange(len(names))
    axes[0].barh(spots, [1e3 * each.run for each in found], color=COLOURS[0], label="measured")
    axes[0].plot(
        [1e3 * each.predicted_run for each in found], spots, "k|", ms=18, label="shared evenly"
    )
    axes[0].set_yticks(spots, names)
    axes[0].set_xlabel("a job runs, ms")
    axes[0].legend(fontsize="small")
    axes[1].barh(spots, [each.rate for each in found], color=COLOURS[4])
    axes[1].set_xlabel("jobs/s")
    axes[2].barh(spots, [1e3 * each.io_p95 for each in found], color=COLOURS[2])
    axes[2].set_xlabel("a light request, ms (p95)")
    axes[0].invert_yaxis()
    picture.tight_layout()
    return picture


def table(found: Sequence[Crowded]) -> str:
    """Return prediction against measurement as Markdown."""
    return common.table(
        (
            "server", "jobs at once", "alone, ms", "runs: predicted, ms", "measured, ms",
            "jobs/s", "rate × run", "light: mean, ms", "p95, ms",
        ),
        (
            (
                e.name,
                e.allowed,
                ms(e.alone),
                ms(e.predicted_run),
                ms(e.run),
                f"{e.rate:.0f}",
                f"{e.running:.1f}",
                ms(e.io_mean),
                ms(e.io_p95),
            )
            for e in found
        ),
    )  # fmt: skip


def orderings(found: Sequence[Crowded]) -> dict[str, bool]:
    """Return what must hold on any machine with fewer than 32 CPUs."""
    limited, crowd = found[0], found[1]
    # Busy neighbours may have slowed down either of the two: both bounds are the CPUs'.
    possible = max(1.5 * limited.rate, 1.3 * crowd.cpus / min(limited.alone, crowd.alone))
    return {
        "without a limit every job runs longer": crowd.run > limited.run,
        "a crowd computes no more than one job per CPU does": crowd.rate < possible,
        "Little's law: rate × run time is the jobs at once, within a half": all(
            abs(each.running / each.allowed - 1.0) < 0.5 for each in (limited, crowd) if each.steady
        ),
    }
