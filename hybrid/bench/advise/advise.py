"""Advice in words: which approach fits, which two numbers decide it, what would flip it.

Measure (`measure`) → simulate (`model`) → verify (here, on request).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hybrid.bench.advise.measure import Endpoint, Measured, measure_app, measure_job, serve_command
from hybrid.bench.advise.model import (
    Forecast,
    TopologyCandidate,
    candidates,
    flips_at,
    forecast,
    rank,
    rule_of_thumb,
    weight,
)
from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan
from hybrid.bench.load.records import Floats
from hybrid.bench.server.served import Server
from hybrid.bench.theory.statistics import samples_needed

LOAD = 0.5  # of the CPUs: the rate assumed where none is given
SCALES = 1.5  # speed-up of two threads from which a job counts as leaving the loop free


@dataclass(frozen=True, slots=True)
class Advice:
    """Everything that was measured and simulated, best candidate first."""

    measured: Measured
    rates: tuple[float, ...]  # requests/s of each endpoint
    cpus: int
    objective: float  # s, I/O delay at p99
    ranked: tuple[Forecast, ...]
    thumb: Forecast  # the rule of thumb: 2 × CPUs + 1 processes

    @property
    def best(self) -> Forecast:
        """The advised topology."""
        return self.ranked[0]


@dataclass(frozen=True, slots=True)
class Verified:
    """A forecast, and what the real server did; seconds, nan: nothing to compare."""

    forecast: Forecast
    io_p99: float
    job_p99: float
    failed: int


def advise(
    measured: Measured,
    rate: float,
    objective: float,
    *,
    cpus: int | None = None,
    memory: int | None = None,
) -> Advice:
    """Simulate and rank every sensible topology.

    Args:
        measured: the application.
        rate: requests/s in all, shared evenly; 0: as many as keep half the CPUs busy.
        objective: seconds that I/O requests may be delayed at p99.
        cpus: that the server may use; None: this process's affinity.
        memory: bytes it may use; None: half of what is available.
    """
    cpus = cpus or len(os.sched_getaffinity(0))
    costs = measured.costs
    rate = rate or LOAD * cpus * len(costs) / sum(c.loop + (not c.waits) * c.job for c in costs)
    rates = tuple(rate / len(costs) for _ in costs)
    jobs = any(cost.has_job for cost in costs)

    def expect(candidate: TopologyCandidate) -> Forecast:
        size = weight(candidate, measured.worker_bytes, measured.base_bytes)
        return forecast(candidate, costs, rates, cpus, size)

    forecasts = [expect(each) for each in candidates(cpus, jobs=jobs)]
    ranked = rank(forecasts, memory or _available() // 2, objective)
    thumb = expect(rule_of_thumb(cpus))
    return Advice(measured, rates, cpus, objective, tuple(ranked), thumb)


def sentences(advice: Advice, target: str) -> list[str]:
    """Return the advice as text; the last line is the command."""
    best = advice.best
    said = [
        f"At {sum(advice.rates):.0f} requests/s on {advice.cpus} CPUs, "
        f"{best.candidate.approach} fits: {_shape(best.candidate)}."
    ]
    if not best.sustainable:
        said = [
            f"No topology sustains {sum(advice.rates):.0f} requests/s on {advice.cpus} CPUs; "
            f"the nearest is {best.candidate.approach} at {max(best.loop_load, best.cpu_load):.0%}."
        ]
    said += [_decides(advice), *_lane(advice), _flips(advice), _thumb(advice)]
    said.append(f"hybrid serve {target} {' '.join(best.candidate.flags)}")
    return [line for line in said if line]


@dataclass(frozen=True, slots=True)
class Served:
    """What is served for a verification, and asked."""

    target: str  # module:attribute of the application
    endpoints: tuple[Endpoint, ...]  # in the order of the advice's costs
    env: dict[str, str] = field(default_factory=dict)


def serve_functions(jobs: Sequence[str]) -> Served:
    """Return an application of these functions, to verify the advice of `functions_only`."""
    paths = ("/light", *(f"/job/{index}" for index in range(len(jobs))))
    endpoints = tuple(Endpoint("GET", path) for path in paths)
    return Served(
        "hybrid.bench.advise.jobapp:app", endpoints, {"HYBRID_ADVISE_JOBS": " ".join(jobs)}
    )


def verify(advice: Advice, served: Served, seconds: float = 5.0) -> list[Verified]:
    """Measure the best two and the rule of thumb at the advised rate."""
    chosen = [*advice.ranked[:2], advice.thumb]
    with LoadGenerator() as generator:
        return [_verify(generator, advice, each, served, seconds) for each in chosen]


def _verify(
    generator: LoadGenerator, advice: Advice, expected: Forecast, served: Served, seconds: float
) -> Verified:
    streams = tuple(e.stream(r) for e, r in zip(served.endpoints, advice.rates, strict=True))
    command = serve_command(served.target, expected.candidate.flags)
    with Server(command, env=served.env) as server:
        plan = LoadPlan(server.host, server.port, streams, duration=seconds, warmup=0.3)
        result = generator.run(plan)
    io: list[Floats] = []
    jobs: list[Floats] = []
    for cost, stream in zip(advice.measured.costs, streams, strict=True):
        latency = result.stream(stream.name).latency()
        (jobs if cost.has_job else io).append(latency - (0.0 if cost.has_job else cost.idle))
    return Verified(expected, _p99(io), _p99(jobs), result.summary["all"]["failed"])


def _p99(parts: Sequence[Floats]) -> float:
    """Return the p99, or the highest quantile that the samples allow (never below p90)."""
    values = np.concatenate(parts) if parts else np.empty(0)
    for q in (0.99, 0.95, 0.9):
        if len(values) >= samples_needed(q):
            return float(np.quantile(values, q, method="inverted_cdf"))
    return math.nan


def _decides(advice: Advice) -> str:
    """Name the two numbers: the job, and what it does to a loop that runs it."""
    costs = advice.measured.costs
    longest = max(costs, key=lambda cost: cost.job)
    inline = next(f for f in advice.ranked if f.candidate == TopologyCandidate(1, "inline", 0))
    if not longest.has_job:
        heavy = max(costs, key=lambda cost: cost.loop)
        advise_job = (
            " That is computing inside a handler: make it a job and ask again."
            if heavy.loop > 0.005
            else ""
        )
        return (
            f"What decides: a request costs its loop up to {1e3 * heavy.loop:.2f} ms "
            f"({heavy.name}), so one loop would be {inline.loop_load:.0%} busy.{advise_job}"
        )
    return (
        f"What decides: a job takes {1e3 * longest.job:.1f} ms ({longest.name}), and inline it "
        f"would delay other requests by {_ms(inline.io_p99)} at p99; here it is "
        f"{_ms(advice.best.io_p99)} (allowed: {_ms(advice.objective)})."
    )


def _lane(advice: Advice) -> list[str]:
    said = []
    for cost in advice.measured.costs:
        if not cost.has_job or cost.waits:
            continue
        if cost.speedup < SCALES:
            why = f"it holds the interpreter lock (two threads: {cost.speedup:.2f} × one)"
            said.append(f"{cost.name}: processes, because {why}.")
        else:
            said.append(
                f"{cost.name}: threads do, two run {cost.speedup:.2f} × as fast as one, and "
                f"{_size(cost.sent + cost.answered)} per request need not cross a process."
            )
    return said


def _flips(advice: Advice) -> str:
    best = advice.best.candidate
    if best == TopologyCandidate(1, "inline", 0):
        return ""
    simple = TopologyCandidate(1, "inline", 0)
    share = flips_at(simple, advice.measured.costs, advice.rates, advice.cpus, advice.objective)
    if share is None:
        return "What would flip it: no lower rate; only shorter jobs make one plain process enough."
    rate = share * sum(advice.rates)
    return f"What would flip it: below {rate:.0f} requests/s one plain process would do."


def _thumb(advice: Advice) -> str:
    thumb = advice.thumb
    delay = _ms(thumb.job_p99 if math.isnan(thumb.io_p99) else thumb.io_p99)
    return (
        f"The rule of thumb (2 × CPUs + 1 = {thumb.candidate.workers} processes, jobs inline) "
        f"would give {delay} at p99 and take {_size(thumb.memory)}; this takes "
        f"{_size(advice.best.memory)}."
    )


def _shape(candidate: TopologyCandidate) -> str:
    workers = f"{candidate.workers} I/O worker{'s' * (candidate.workers > 1)}"
    if candidate.lane == "inline":
        return f"{workers}, jobs inline"
    return f"{workers} × {candidate.slots} slots on the {candidate.lane} lane"


def _ms(seconds: float) -> str:
    if math.isnan(seconds):
        return "nothing"
    return "more than it can bear" if math.isinf(seconds) else f"{1e3 * seconds:.1f} ms"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _available() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def functions_only(jobs: Sequence[str], seconds: float = 1.0) -> Measured:
    """Measure functions as the jobs of an application that also has light I/O.

    Args:
        jobs: ``module:function``, called without arguments.
        seconds: per measurement.

    Raises:
        ConfigError: one cannot be imported, or fails.
    """
    costs = tuple(measure_job(each, seconds) for each in jobs)
    served = serve_functions(jobs)
    app = measure_app(served.target, served.endpoints[:1], seconds, env=served.env)
    light = replace(app.costs[0], name="light I/O")
    return Measured((light, *costs), app.worker_bytes, app.base_bytes)
