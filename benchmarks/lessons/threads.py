"""Notebook 3: when two threads compute twice as much, and what the event loop pays for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks.lessons import common
from benchmarks.lessons.common import ms
from hybrid.bench.advise.model import lock_share
from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.served import Server
from hybrid.bench.server.topology import Topology
from hybrid.bench.theory.formulas import gil_speedup
from hybrid.bench.theory.statistics import quantile

PROBES = 200.0  # light requests/s while jobs run
THREADS = Topology("1xT", "one process + threads", 1, 2, "thread", "none")
APP = "benchmarks.lessons.app:app"
# About 10 ms each on a core of 2024; what releases the lock is for the measurement to say.
KERNELS = {
    "product, 480 × 480": "/kernel?name=product&n=480",
    "sort, 10⁶ numbers": "/kernel?name=sort&n=1000000",
    "FFT, 400,000 points": "/kernel?name=fft&n=400000",
    "sums of 1,000 numbers": "/kernel?name=sums&n=1000",
    "sums of 30 numbers": "/kernel?name=sums&n=30",
    "object array": "/kernel?name=objects&n=400000",
    "pure Python": "/kernel?name=python&n=100000",
}
BRIEF = ("product, 480 × 480", "sort, 10⁶ numbers", "pure Python")


@dataclass(frozen=True, slots=True)
class Threaded:
    """How a kernel fares on two threads, and what it does to the event loop of its process."""

    kernel: str
    alone: float  # s one job takes
    speedup: float  # of two clients over one
    held: float  # share of the job that holds the interpreter lock, from the speed-up
    four: float  # the speed-up that theory expects of four threads on enough cores
    io_mean: float  # s a light request waits while two jobs run all the time
    io_p95: float | None  # s


def obtain(wanted: str | None = None) -> tuple[str, list[Threaded]]:
    """Return the machine's line and the rows; see `common.obtain`."""
    return common.obtain("notebook-03", Threaded, _measure, wanted)


def _measure(full: bool) -> list[Threaded]:
    names = tuple(KERNELS) if full else BRIEF
    return threaded(names, 1.5 if full else 0.35)


def threaded(names: Sequence[str], seconds: float) -> list[Threaded]:
    """Run each kernel on one thread, on two, and on two while light requests arrive."""
    with THREADS.server(APP) as server, LoadGenerator() as generator:
        return [_threaded(server, generator, each, seconds) for each in names]


def _threaded(server: Server, generator: LoadGenerator, name: str, seconds: float) -> Threaded:
    path = KERNELS[name]
    one = common.closed(server, generator, path, 1, seconds)
    two = common.closed(server, generator, path, 2, seconds)
    speedup = two.summary["all"]["ok_per_s"] / one.summary["all"]["ok_per_s"]
    held = lock_share(min(max(speedup, 1.0), 2.0))
    io = _light_latency(server, generator, path, seconds)
    return Threaded(
        name,
        common.mean_of(one, "run"),
        speedup,
        held,
        gil_speedup(held, 4),
        float(io.mean()),
        quantile(io, 0.95),
    )


def _light_latency(
    server: Server, generator: LoadGenerator, path: str, seconds: float
) -> common.Floats:
    """Return latencies of light requests while two closed-loop clients keep both threads busy."""
    probe = (Stream("io", "/hello", PROBES),)
    plan = LoadPlan(server.host, server.port, probe, duration=seconds, timeout=30.0)
    with LoadGenerator() as jobs:
        jobs.start(common.closed_plan(server, path, 2, seconds + 0.5))
        time.sleep(0.25)  # the jobs run before the first probe does
        found = generator.run(plan).stream("io").latency()
        jobs.finish()
    return found


def figure(found: Sequence[Threaded]) -> Figure:
    """Plot the speed-up of two threads, and what the event loop pays for it."""
    picture, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
    names = [each.kernel for each in found]
    left.barh(names, [each.speedup for each in found], color=COLOURS[0])
    left.axvline(1.0, color="k", lw=0.8)
    left.axvline(2.0, color="k", lw=0.8, ls=":")
    left.set_xlabel("throughput of two threads over one")
    right.barh(names, [1e3 * each.io_mean for each in found], color=COLOURS[2])
    right.set_xlabel("mean latency of a light request beside them, ms")
    left.invert_yaxis()
    picture.tight_layout()
    return picture


def table(found: Sequence[Threaded]) -> str:
    """Return speed-up, share of the lock, and theory's answer for four threads."""
    return common.table(
        (
            "kernel",
            "alone, ms",
            "two threads",
            "share that holds the lock",
            "four threads, theory",
            "light request beside, mean ms",
            "p95 ms",
        ),
        (
            (
                e.kernel,
                ms(e.alone),
                f"{e.speedup:.2f} ×",
                f"{e.held:.0%}",
                f"{e.four:.1f} ×",
                ms(e.io_mean),
                ms(e.io_p95),
            )
            for e in found
        ),
    )


def orderings(found: Sequence[Threaded]) -> dict[str, bool]:
    """Return what must hold on any machine with an interpreter lock."""
    python = next(each for each in found if each.kernel == "pure Python")
    numpy = [each for each in found if each is not python]
    best = max(each.speedup for each in numpy)
    calmest = min(each.io_mean for each in numpy)
    return {
        "pure Python gains next to nothing from a second thread": python.speedup < 1.35,
        "some numpy kernel gains more than pure Python": best > python.speedup,
        "a loop beside pure Python waits longer than beside the calmest numpy kernel": (
            python.io_mean > calmest
        ),
    }
