"""The first third of advice: measure the user's own endpoints on an idle server.

Everything is measured from outside, on one worker with two threads: what a
request costs the loop, what its job takes and how much that varies, whether two
threads are faster than one, what crosses the boundary, what a worker weighs.
"""

from __future__ import annotations

import json
import mimetypes
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid.bench.load.generator import LoadGenerator, LoadResult
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.server.procfs import busy_seconds
from hybrid.bench.server.served import Server, leashed
from hybrid.errors import ConfigError

BUSY = 0.7  # CPU share of a job's run above which the job computes rather than waits
NPY = "application/x-npy"
LEAST_LOOP = 30e-6  # s; below it the tick of the CPU clock is all one sees


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A request to be advised on."""

    method: str
    path: str
    body_file: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return f"{self.method} {self.path}"

    def stream(self, rate: float = 0.0) -> Stream:
        """Return it as a stream of load."""
        return Stream(
            self.name,
            self.path,
            rate,
            method=self.method,
            headers=(*self._content_type(), *self.headers),
            body_file=self.body_file,
        )

    def _content_type(self) -> tuple[tuple[str, str], ...]:
        """Say what the file holds, by the ending of its name, unless the user says it."""
        if not self.body_file or any(name.lower() == "content-type" for name, _ in self.headers):
            return ()
        path = Path(self.body_file)
        known = NPY if path.suffix == ".npy" else mimetypes.guess_type(path.name)[0]
        return (("Content-Type", known or "application/octet-stream"),)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request of an endpoint costs; times in seconds."""

    name: str
    loop: float  # CPU of the event loop
    job: float = 0.0  # its job; 0: it has none
    scv: float = 0.0  # squared coefficient of variation of the job
    waits: bool = False  # the job waits rather than computes
    speedup: float = 2.0  # of two threads over one: 1 … 2
    idle: float = 0.0  # awaiting something else
    sent: int = 0  # bytes of the body
    answered: int = 0  # bytes of the answer

    @property
    def has_job(self) -> bool:
        """Whether the endpoint submits a job."""
        return self.job > 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The user's application, measured."""

    costs: tuple[Cost, ...]
    worker_bytes: int  # private to each worker, while it is idle
    base_bytes: int = 0  # paid once: the primary, and what the workers share with it


def measure_app(
    target: str,
    endpoints: tuple[Endpoint, ...],
    seconds: float = 1.0,
    extra: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Measured:
    """Serve `target` on one worker and measure each endpoint alone.

    Args:
        target: ``module:attribute`` of the application.
        endpoints: what to ask it.
        seconds: per endpoint, twice.
        extra: further options of `hybrid serve`.
        env: further environment variables of the server.

    Raises:
        ConfigError: an endpoint does not answer properly.
    """
    command = serve_command(target, ("--io-workers", "1", "--cpu-pool", "2", *extra))
    threads = (*command, "--cpu-lane", "thread", "--cpu-limit", "none")
    with Server(threads, env=env) as server, LoadGenerator() as generator:
        worker, base = server.weight()
        costs = tuple(_cost(server, generator, each, seconds) for each in endpoints)
    return Measured(costs, worker, base)


def measure_job(target: str, seconds: float = 1.0) -> Cost:
    """Time a function that takes no arguments, in a process of its own.

    Raises:
        ConfigError: it cannot be imported, or it fails.
    """
    command = leashed([sys.executable, "-m", "hybrid.bench.advise.timejob", target, str(seconds)])
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise ConfigError(f"{target} could not be timed: {' '.join(last)}")
    found = json.loads(done.stdout)
    return Cost(
        target,
        LEAST_LOOP,
        found["mean"],
        found["scv"],
        speedup=min(max(found["speedup"], 1.0), 2.0),
        answered=int(found["bytes"]),
    )


def busy_neighbours(seconds: float = 0.3) -> float:
    """Return how many CPUs other programs keep busy while this one only waits.

    Advice from a busy machine is wrong without a sign of it: two threads that
    share one free CPU look like two threads that share the interpreter lock.
    """
    before = busy_seconds()
    time.sleep(seconds)  # the wait is the measurement
    return (busy_seconds() - before) / seconds


def serve_command(target: str, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that serves the user's application on a free port."""
    serve = (sys.executable, "-m", "hybrid", "serve", target, "--bind", "127.0.0.1:0")
    return (*serve, "--no-access-log", *flags)


def _cost(server: Server, generator: LoadGenerator, each: Endpoint, seconds: float) -> Cost:
    _run(server, generator, each, 1, 0.2)  # warm: imports, caches
    before = server.usage().cpu
    one = _run(server, generator, each, 1, seconds)
    cpu = (server.usage().cpu - before) / max(len(one.records), 1)
    latency = float(one.records.uncorrected().mean())
    run = one.records["run"].astype(np.float64) / 1e3
    sent = os.path.getsize(each.body_file) if each.body_file else 0
    answered = int(one.records["size"].max())
    job = float(run.mean())
    if job <= 0.0:
        idle = max(latency - cpu, 0.0)
        return Cost(each.name, max(cpu, LEAST_LOOP), idle=idle, sent=sent, answered=answered)
    waits = cpu < BUSY * job
    two = _run(server, generator, each, 2, seconds)
    faster = two.summary["all"]["ok_per_s"] / max(one.summary["all"]["ok_per_s"], 1e-9)
    loop = max(cpu if waits else cpu - job, LEAST_LOOP)
    return Cost(
        each.name,
        loop,
        job,
        float(run.var() / job**2),
        waits,
        min(max(faster, 1.0), 2.0),
        max(latency - job - loop, 0.0),
        sent,
        answered,
    )


def _run(
    server: Server, generator: LoadGenerator, each: Endpoint, clients: int, seconds: float
) -> LoadResult:
    plan = LoadPlan(
        server.host,
        server.port,
        (each.stream(),),
        duration=seconds,
        concurrency=clients,
        connections=clients,
    )
    result = generator.run(plan)
    if not len(result.records) or result.summary["all"]["failed"]:
        seen = result.summary["all"]["statuses"] or result.summary["all"]["outcomes"]
        raise ConfigError(f"{each.name} does not answer properly: {seen or 'no answer in time'}")
    return result
