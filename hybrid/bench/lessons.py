"""The measurements behind the teaching notebooks; each is one small experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hybrid.bench.advise_model import lock_share
from hybrid.bench.formulas import gil_speedup, wait_behind_jobs
from hybrid.bench.generator import LoadGenerator, LoadResult
from hybrid.bench.plan import LoadPlan, Stream
from hybrid.bench.server import Server
from hybrid.bench.simulate import waits
from hybrid.bench.statistics import quantile
from hybrid.bench.topology import Topology

BLOCK = 0.020  # s a job holds the loop in the lesson on blocking
PROBES = 200.0  # light requests/s that feel it
INLINE = Topology("1x0", "one process, inline", 1, 0)
THREADS = Topology("1xT", "one process + threads", 1, 2, "thread", "none")
# About 10 ms each on a core of 2024; what releases the lock is for the measurement to say.
KERNELS = {
    "matmul": "/cpu/matmul?n=480",
    "fft": "/cpu/fft?n=400000",
    "sort": "/cpu/sort?n=1000000",
    "montecarlo": "/cpu/montecarlo?n=600000",
    "svd": "/cpu/svd?n=380",
    "primes": "/cpu/primes?n=150000",
}


@dataclass(frozen=True, slots=True)
class Blocked:
    """What light requests wait where jobs block their loop, at one rate of jobs."""

    jobs: float  # per second
    load: float  # ρ of the loop
    measured: float  # s, mean wait of the light requests
    p99: float | None  # s
    formula: float  # s, Pollaczek-Khinchine
    replayed: float  # s, the simulator fed with the measured arrivals

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Threaded:
    """How a kernel fares on two threads, and what it does to the loop beside it."""

    kernel: str
    alone: float  # s one job takes
    speedup: float  # of two clients over one
    held: float  # share of the job that holds the interpreter lock, from the speed-up
    four: float  # the speed-up that theory expects of four threads on enough cores
    io_mean: float  # s a light request waits while two jobs run all the time
    io_p95: float | None  # s

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def blocked_loop(rates: Sequence[float], seconds: float) -> list[Blocked]:
    """Raise the rate of blocking jobs beside light requests, on one inline process.

    The job sleeps without giving up the loop: its length is exact whatever the
    cores do, so theory can be held to account on a small and busy machine.
    """
    found = []
    with INLINE.server() as server, LoadGenerator() as generator:
        light = _alone(server, generator, "/hello")
        for number, rate in enumerate(rates):
            probe = Stream("io", "/hello", PROBES)
            job = Stream("job", f"/cpu/sleep?ms={1e3 * BLOCK:g}", rate)
            plan = LoadPlan(server.host, server.port, (probe, job), duration=seconds, seed=number)
            found.append(_blocked(generator.run(plan), rate, light))
    return found


def threaded(seconds: float, kernels: dict[str, str] | None = None) -> list[Threaded]:
    """Run each kernel on one thread, on two, and on two beside light requests."""
    with THREADS.server() as server, LoadGenerator() as generator:
        return [
            _threaded(server, generator, name, path, seconds)
            for name, path in (kernels or KERNELS).items()
        ]


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


def _threaded(
    server: Server, generator: LoadGenerator, name: str, path: str, seconds: float
) -> Threaded:
    one = _closed(server, generator, path, 1, seconds)
    two = _closed(server, generator, path, 2, seconds)
    speedup = two.summary["all"]["ok_per_s"] / one.summary["all"]["ok_per_s"]
    held = lock_share(min(max(speedup, 1.0), 2.0))
    # Two closed-loop clients keep both threads busy; the light requests come in the open.
    busy = float(one.records["run"].mean()) / 1e3
    probe = Stream("io", "/hello", PROBES)
    jobs = Stream("job", path, 0.9 * speedup / busy, arrivals="constant")
    plan = LoadPlan(server.host, server.port, (probe, jobs), duration=seconds, timeout=30.0)
    io = generator.run(plan).stream("io").latency()
    return Threaded(
        name, busy, speedup, held, gil_speedup(held, 4), float(io.mean()), quantile(io, 0.95)
    )


def _alone(server: Server, generator: LoadGenerator, path: str) -> float:
    rows = _closed(server, generator, path, 1, 0.3).records
    return float(np.median(rows.uncorrected()))


def _closed(
    server: Server, generator: LoadGenerator, path: str, clients: int, seconds: float
) -> LoadResult:
    stream = (Stream("job", path),)
    plan = LoadPlan(
        server.host,
        server.port,
        stream,
        duration=seconds,
        concurrency=clients,
        connections=clients,
    )
    return generator.run(plan)
