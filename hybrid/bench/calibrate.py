"""What the generator itself can do, against a server that does nothing.

A load generator in Python has a ceiling. Only below it, and with its CPU per
request known, can a figure be called the server's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.matrix.gates import problems
from hybrid.bench.server.served import NULL_SERVER, Server

SHARES = (0.05, 0.1, 0.25, 0.5)  # of the ceiling, offered in an open loop
WRK_PATH = "/?ms=20"  # the server's answer time, not the client, sets this rate
WRK_AGREES = 0.1  # relative difference to wrk that chance explains
CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class RateStep:
    """The generator at one offered rate."""

    rate: float  # requests/s
    cpu_share: float
    cpu_us: float  # per request
    lag_p99_ms: float | None
    latency_p99_ms: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The ceiling of this machine's generator."""

    ceiling: float  # requests/s, closed loop
    cpu_us: float  # CPU per request at the ceiling
    steps: tuple[RateStep, ...]
    wrk_ratio: float | None  # our closed-loop rate over wrk's; None: wrk is not installed

    @property
    def honest_rate(self) -> float:
        """The highest rate below the first that failed a gate, in requests/s."""
        passed = takewhile(lambda step: not step.problems, self.steps)
        return max((step.rate for step in passed), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON."""
        return {**asdict(self), "honest_rate": self.honest_rate}


def calibrate(seconds: float = 1.0) -> Calibration:
    """Drive the null server closed-loop, then open-loop at shares of that rate."""
    with Server(NULL_SERVER) as server, LoadGenerator() as generator:
        closed = LoadPlan(
            server.host,
            server.port,
            (Stream("null", "/"),),
            concurrency=CONNECTIONS,
            duration=seconds,
        )
        summary = generator.run(closed).summary
        ceiling = summary["all"]["ok_per_s"]
        steps = tuple(_step(server, generator, share * ceiling, seconds) for share in SHARES)
        return Calibration(
            ceiling,
            summary["generator"]["cpu_us_per_request"],
            steps,
            _against_wrk(server, generator, seconds),
        )


def _step(server: Server, generator: LoadGenerator, rate: float, seconds: float) -> RateStep:
    stream = Stream("null", "/", rate)
    plan = LoadPlan(server.host, server.port, (stream,), duration=seconds)
    summary = generator.run(plan).summary
    own = summary["generator"]
    return RateStep(
        rate,
        own["cpu_share"],
        own["cpu_us_per_request"],
        own["send_lag_p99_ms"],
        summary["all"]["latency_ms"]["p99"],
        tuple(problems(summary)),
    )


def _against_wrk(server: Server, generator: LoadGenerator, seconds: float) -> float | None:
    """Compare with an independent client where the server sets the rate; ours over wrk's."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    whole = max(1, round(seconds))  # wrk counts whole seconds
    url = f"http://{server.host}:{server.port}{WRK_PATH}"
    command = (wrk, "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", url)
    stream = (Stream("wait", WRK_PATH),)
    plan = LoadPlan(server.host, server.port, stream, concurrency=CONNECTIONS, duration=whole)
    # There and back again (ABBA): a drift of the machine cancels.
    first, theirs = _rate(generator, plan), _wrk_rate(command) + _wrk_rate(command)
    return (first + _rate(generator, plan)) / theirs if theirs else None


def _rate(generator: LoadGenerator, plan: LoadPlan) -> float:
    return float(generator.run(plan).summary["all"]["ok_per_s"])


def _wrk_rate(command: tuple[str, ...]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    return float(found[1]) if found else 0.0
