"""One cell of the matrix, measured on a running server.

Latency is compared at a *fixed* load, the same for every topology; capacity by
raising the load until the objective is missed. Both are needed: a topology may
look fine at a fixed load and fall over just above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hybrid.bench.gates import crowded, problems
from hybrid.bench.generator import LoadGenerator, LoadResult
from hybrid.bench.plan import LoadPlan, Stream
from hybrid.bench.procfs import busy_seconds
from hybrid.bench.records import Floats, Records, timeline
from hybrid.bench.scenarios import IO_WAIT, JOB_LOAD, Objective, Scenario
from hybrid.bench.server import Server
from hybrid.bench.statistics import quantile, samples_needed

GRID_TOP, GRID_SPAN = 0.95, 12.0  # highest rate of the search, over the capacity and the lowest
GOLDEN = 0.618  # shifts the grid from block to block, never twice to the same place
CLIMB, CLIMBS = 1.3, 6  # factor, and how often: to five times the capacity
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
    saturation: float = 0.8  # s of the closed loop that finds the capacity
    steps: int = 3  # probes of the search; 2**steps - 1 rates
    probe: tuple[float, float] = (0.7, 3.0)  # s of one probe, at least and at most
    restart: float = 3.0  # s of load around a kill


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
    if bench.effort.saturation:
        _capacity(bench, scenario, job_rate, cell)
    if bench.effort.steps and cell.values.get("capacity"):
        _highest_rate(bench, scenario, job_rate, cell)
    cell.values["pss_mb"] = bench.server.usage(memory=True).pss / 1e6
    return cell


def service_time(bench: Bench, path: str, seconds: float = 0.5) -> float:
    """Return the mean seconds of a request that is alone on the server."""
    plan = bench.plan(Stream("job", path), concurrency=1, duration=seconds, connections=1)
    rows = bench.generator.run(plan).records
    good = rows.uncorrected()[rows.ok]
    return float(good.mean()) if len(good) else 0.0


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
    seconds, own = result.summary["seconds"], result.summary["generator"]["cpu_share"]
    neighbours = (busy - cpu) / seconds - own
    cell.problems.extend(problems(result.summary) + crowded(neighbours))
    cell.detail["neighbours"] = round(neighbours, 3)
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


def _capacity(bench: Bench, scenario: Scenario, job_rate: float, cell: Cell) -> None:
    """Find the saturation throughput of what the row raises, by a closed loop."""
    streams = scenario.streams(job_rate)
    clients = 8 * bench.workers
    if scenario.keep_io:
        streams = tuple(s for s in streams if s.name == "job")
    elif not scenario.job:
        clients = 640 * bench.workers  # each waits 20 ms: 32,000/s a worker at most
    plan = bench.plan(*streams, concurrency=clients, duration=bench.effort.saturation)
    result = bench.generator.run(plan)
    rate = result.summary["all"]["ok_per_s"]
    if rate > 0.0:
        cell.values["capacity"] = rate
    # Beyond its own limit the generator says little about the server's.
    cell.detail["capacity_problems"] = problems(result.summary, failures_allowed=True)


def _highest_rate(bench: Bench, scenario: Scenario, job_rate: float, cell: Cell) -> None:
    probes: list[dict[str, Any]] = []
    cell.detail["probes"] = probes

    def holds(rate: float) -> bool:
        result, met = _probe(bench, scenario, job_rate, rate)
        probes.append(_probe_row(result, rate, met))
        return met

    shift = GOLDEN * cell.block % 1.0
    rate, censored = search(holds, cell.values["capacity"], bench.effort.steps, shift)
    cell.values["slo_rate"] = rate
    if censored:
        cell.detail["censored"] = True  # missed even at the lowest rate: "at most this"


def _probe(
    bench: Bench, scenario: Scenario, job_rate: float, rate: float
) -> tuple[LoadResult, bool]:
    plan = scenario.at_rate(bench.plan(*scenario.streams(job_rate)), rate)
    shares = {stream.name: stream.rate for stream in plan.streams}
    wanted = max(samples_needed(o.share) / shares[o.stream] for o in scenario.objectives)
    shortest, longest = bench.effort.probe
    duration = min(max(wanted, shortest), longest)
    result = bench.generator.run(bench.plan(*plan.streams, duration=duration, timeout=3.0))
    return result, all(met(result.stream(o.stream), o) for o in scenario.objectives)


def met(rows: Records, objective: Objective) -> bool:
    """Return whether enough of the rows were answered in time."""
    if not len(rows):
        return True
    return bool(np.mean(rows.latency() <= objective.limit) >= objective.share)


def search(
    holds: Callable[[float], bool], capacity: float, steps: int, shift: float = 0.0
) -> tuple[float, bool]:
    """Find the highest rate that holds, by bisection on a geometric grid below capacity.

    Args:
        holds: whether the objective is met at a rate.
        capacity: the closed loop's throughput.
        steps: probes.
        shift: 0 … 1, of the grid by a part of its step. Another one in each block
            makes the mean over blocks finer than the grid.

    Returns:
        The rate, and whether it is censored: even the lowest rate of the grid
        missed, and the figure is one step below it.
    """
    count = 2**steps - 1  # bisection then takes exactly `steps` probes
    step = GRID_SPAN ** (1.0 / max(count - 1, 1))
    grid = [GRID_TOP * capacity / step ** (k + shift) for k in range(count)]  # descending
    low, high = 0, len(grid)  # the answer is grid[low..high]
    while low < high:
        middle = (low + high) // 2
        if holds(grid[middle]):
            high = middle
        else:
            low = middle + 1
    if low == len(grid):
        return grid[-1] / step, True
    return (grid[low] if low else _climb(holds, grid[0])), False


def _climb(holds: Callable[[float], bool], rate: float) -> float:
    """Go on above a capacity that was measured too low; a busy moment can do that."""
    for _ in range(CLIMBS):
        if not holds(CLIMB * rate):
            break
        rate *= CLIMB
    return rate


def _probe_row(result: LoadResult, rate: float, held: bool) -> dict[str, Any]:
    latency = 1e3 * result.stream("io").latency()
    found = {
        "mean": float(latency.mean()) if len(latency) else None,
        "p50": quantile(latency, 0.5),
        "p95": quantile(latency, 0.95),
    }
    finite = {k: None if v is None or not np.isfinite(v) else round(v, 3) for k, v in found.items()}
    return {"rate": round(rate, 2), "met": held, **finite}


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
