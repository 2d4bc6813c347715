"""One cell of the matrix, measured on a running server.

Latency is compared at a *fixed* load, the same for every topology; capacity by
raising the load until the objective is missed. Both are needed: a topology may
look fine at a fixed load and fall over just above it.

Where the search starts must not depend on the topology's luck. With jobs it is
the rate at which they alone would fill every CPU; without, the throughput of a
closed loop of as many clients for every topology.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hybrid.bench.load.generator import LoadGenerator, LoadResult
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.load.records import Floats, timeline
from hybrid.bench.matrix.gates import crowded, fell_behind, neighbours, problems
from hybrid.bench.matrix.scenarios import IO_OBJECTIVE, IO_WAIT, JOB_LOAD, Scenario
from hybrid.bench.matrix.search import margin, search
from hybrid.bench.server.procfs import busy_seconds
from hybrid.bench.server.served import Server
from hybrid.bench.server.topology import cpus
from hybrid.bench.theory.statistics import quantile, samples_needed

GOLDEN = 0.618  # shifts the grid from block to block, never twice to the same place
CLIENTS = 1280  # of the closed loop that finds the I/O capacity; each waits 20 ms: 64,000/s
ABOVE = 1.05  # an open loop gets a little more through than a closed one
CLOSED_CLIENTS = 12  # enough for the fixed load's I/O while nothing stalls
CURVE = tuple(float(q) for q in 1.0 - np.logspace(0, -3, 31))  # 0 ... 0.999


@dataclass(frozen=True, slots=True)
class Cell:
    """What one topology did in one scenario, in one block."""

    block: int
    scenario: str
    topology: str
    values: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)  # why not to believe it
    detail: dict[str, Any] = field(default_factory=dict)  # curves and probes for the plots

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a cell is measured."""

    fixed: float = 3.0  # s of the fixed load
    warmup: float = 0.3  # s of it left out
    closed: float = 1.0  # s of a closed loop, to show what it hides
    saturation: float = 0.8  # s of the closed loop that finds the I/O capacity
    steps: int = 3  # probes of the search; 2**steps - 1 rates
    probe: tuple[float, float] = (0.7, 3.0)  # s of one probe, at least and at most
    restart: float = 3.0  # s of load around a kill
    kills: int = 4  # of workers at most, one after the other


@dataclass(frozen=True, slots=True)
class Bench:
    """A running server and the generator that loads it."""

    server: Server
    generator: LoadGenerator
    effort: Effort
    workers: int
    seed: int = 1

    def plan(self, *streams: Stream, **fields: Any) -> LoadPlan:
        """Return a plan for this server; 64 connections per worker even out their placement."""
        fields.setdefault("connections", min(64 * self.workers, 512))
        return LoadPlan(self.server.host, self.server.port, streams, seed=self.seed, **fields)


def measure(bench: Bench, scenario: Scenario, block: int, topology: str, service: float) -> Cell:
    """Measure one cell.

    Args:
        bench: the running server.
        scenario: any but "restart".
        block: for the cell's label.
        topology: for the cell's label.
        service: seconds one job takes alone; 0 where the row has no job.
    """
    job_rate = JOB_LOAD / service if service else 0.0
    cell = Cell(block, scenario.key, topology)
    _fixed_load(bench, scenario, job_rate, cell)
    if scenario.job and bench.effort.closed and not block:  # a picture needs one block
        _closed_view(bench, scenario, job_rate, cell)
    if bench.effort.saturation and not scenario.job:
        _capacity(bench, scenario, cell)
    top = _top(scenario, job_rate, cell)
    if bench.effort.steps and top:
        _highest_rate(bench, scenario, job_rate, top, cell)
    cell.values["pss_mb"] = bench.server.usage(memory=True).pss / 1e6
    return cell


def service_time(bench: Bench, path: str, seconds: float = 1.0) -> float:
    """Return the CPU seconds of a request that is alone on the server.

    A job that computes takes as long as it uses its CPU. Busy neighbours stretch
    the former several times, the latter by little.
    """
    plan = bench.plan(Stream("job", path), concurrency=1, duration=seconds, connections=1)
    before = bench.server.usage().cpu
    answered = bench.generator.run(plan).summary["answered"]
    return (bench.server.usage().cpu - before) / answered if answered else 0.0


def _fixed_load(bench: Bench, scenario: Scenario, job_rate: float, cell: Cell) -> None:
    effort = bench.effort
    streams = scenario.streams(job_rate)
    plan = bench.plan(*streams, duration=effort.fixed, warmup=effort.warmup)
    before, busy = bench.server.usage().cpu, busy_seconds()
    result = bench.generator.run(plan)
    busy, cpu = busy_seconds() - busy, bench.server.usage().cpu - before
    io = result.stream("io")
    added = 1e3 * (io.latency() - IO_WAIT)
    for q, name in ((0.5, "io_p50"), (0.95, "io_p95"), (0.99, "io_p99")):
        found = quantile(added, q)
        if found is not None and np.isfinite(found):
            cell.values[name] = max(found, 1e-3)
    if np.all(np.isfinite(added)) and len(added):
        cell.values["io_mean"] = max(float(added.mean()), 1e-3)
    cell.values["cpu_ms"] = 1e3 * cpu / max(result.summary["answered"], 1)
    cell.values["failed"] = float(result.summary["all"]["failed"])
    if scenario.job:
        _job_values(result, cell)
    others = neighbours(busy, cpu, result.summary)
    cell.problems.extend(problems(result.summary) + crowded(others))
    cell.detail["neighbours"] = round(others, 3)
    cell.detail["curve"] = _curve(io.latency())
    if not cell.block:
        cell.detail["activity"] = timeline(result.records, effort.fixed)
    cell.detail["workers"] = result.summary["workers"]
    cell.detail["job_rate"] = job_rate


def _job_values(result: LoadResult, cell: Cell) -> None:
    latency = 1e3 * result.stream("job").latency()
    for q, name in ((0.5, "job_p50"), (0.9, "job_p90")):
        found = quantile(latency, q)
        if found is not None and np.isfinite(found):
            cell.values[name] = found


def _capacity(bench: Bench, scenario: Scenario, cell: Cell) -> None:
    """Find the saturation throughput of the I/O requests, by a closed loop."""
    plan = bench.plan(*scenario.streams(0.0), concurrency=CLIENTS, duration=bench.effort.saturation)
    result = bench.generator.run(plan)
    rate = result.summary["all"]["ok_per_s"]
    if rate > 0.0:
        cell.values["capacity"] = rate
    # Beyond its own limit the generator says little about the server's.
    cell.detail["capacity_problems"] = problems(result.summary, failures_allowed=True)


def _top(scenario: Scenario, job_rate: float, cell: Cell) -> float:
    """Return a rate of what the row raises that nothing can sustain for long; 0: unknown."""
    if not scenario.job:
        return ABOVE * cell.values.get("capacity", 0.0)
    filling = cpus() / JOB_LOAD  # times the fixed load: its jobs alone would fill every CPU
    return filling * sum(s.rate for s in scenario.streams(job_rate) if scenario.raises(s))


def _highest_rate(
    bench: Bench, scenario: Scenario, job_rate: float, top: float, cell: Cell
) -> None:
    probes: list[dict[str, Any]] = []
    cell.detail["probes"] = probes

    def distance(rate: float) -> float:
        result, found = _probe(bench, scenario, job_rate, rate)
        slack = 1e3 * (IO_OBJECTIVE.limit - IO_WAIT)
        if found < 0.0:  # perhaps it is the fault of the generator
            own = fell_behind(result.summary["generator"], slack)
            cell.problems.extend(f"at {rate:.0f}/s {each}" for each in own)
        probes.append(_probe_row(result, rate, found))
        return found

    shift = GOLDEN * cell.block % 1.0
    rate, censored = search(distance, top, bench.effort.steps, shift, climb=not scenario.job)
    cell.values["slo_rate"] = rate
    if censored:
        cell.detail["censored"] = True  # missed even at the lowest rate: "at most this"


def _probe(
    bench: Bench, scenario: Scenario, job_rate: float, rate: float
) -> tuple[LoadResult, float]:
    plan = scenario.at_rate(bench.plan(*scenario.streams(job_rate)), rate)
    shares = {stream.name: stream.rate for stream in plan.streams}
    wanted = max(samples_needed(o.share) / shares[o.stream] for o in scenario.objectives)
    shortest, longest = bench.effort.probe
    duration = min(max(wanted, shortest), longest)
    bench.server.settle()
    result = bench.generator.run(bench.plan(*plan.streams, duration=duration, timeout=3.0))
    return result, min(margin(result.stream(o.stream), o) for o in scenario.objectives)


def _probe_row(result: LoadResult, rate: float, distance: float) -> dict[str, Any]:
    latency = 1e3 * result.stream("io").latency()
    found = {
        "mean": float(latency.mean()) if len(latency) else None,
        "p50": quantile(latency, 0.5),
        "p95": quantile(latency, 0.95),
    }
    finite = {k: None if v is None or not np.isfinite(v) else round(v, 3) for k, v in found.items()}
    return {"rate": round(rate, 2), "distance": round(distance, 3), **finite}


def _closed_view(bench: Bench, scenario: Scenario, job_rate: float, cell: Cell) -> None:
    """Measure the same mix as a closed-loop tool would.

    Its clients stop asking while the server stalls: coordinated omission. The
    figure is kept for the picture only, never for a verdict.
    """
    plan = bench.plan(
        *scenario.streams(job_rate), concurrency=CLOSED_CLIENTS, duration=bench.effort.closed
    )
    io = bench.generator.run(plan).stream("io")
    cell.detail["closed_curve"] = _curve(io.uncorrected())


def _curve(latency: Floats) -> list[float | None]:
    """Return the quantiles at CURVE, in ms; None where samples do not suffice."""
    found = (quantile(latency, q) for q in CURVE)
    return [None if v is None or not np.isfinite(v) else round(1e3 * v, 4) for v in found]
