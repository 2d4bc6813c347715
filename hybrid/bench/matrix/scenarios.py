"""The rows of the decision matrix: what is asked of a server, and what the article advises.

The article is "Cluster vs. worker threads" advice for Node: clustering for I/O,
worker threads for CPU work, both for both, a process manager for restarts. Each
row here turns one sentence of it into a load, an objective and a figure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hybrid.bench.load.plan import LoadPlan, Stream

IO_WAIT = 0.020  # s the I/O request of every row waits for its pretended upstream
IO_RATE = 800.0  # I/O requests/s next to the jobs: 1,000 samples for a p99 in 1.3 s
WAIT = f"/io/wait?ms={1e3 * IO_WAIT:g}"  # one upstream: it only feels what others do to its loop
# Ten upstreams at once, as a page of a web application asks them: five times the loop's CPU
# that the load generator spends on it, so that the server and not the generator is the limit.
FAN_OUT = f"/io/fanout?n=10&ms={1e3 * IO_WAIT:g}"
JOB_LOAD = 0.5  # CPUs kept busy by jobs at the fixed load


@dataclass(frozen=True, slots=True)
class Objective:
    """At least `share` of a stream's requests are answered within `limit` seconds."""

    stream: str
    share: float
    limit: float

    def __str__(self) -> str:
        return f"{self.share:.0%} of {self.stream} within {1e3 * self.limit:g} ms"


IO_OBJECTIVE = Objective("io", 0.95, IO_WAIT + 0.020)
JOB_OBJECTIVE = Objective("job", 0.90, 0.150)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row."""

    key: str
    title: str
    article: str  # what the article recommends, in its words
    recommended: tuple[str, ...]  # the topologies that follow it
    metric: str  # which figure of a cell decides the row
    brief_metric: str  # which one does where there was no time to search for the former
    job: str = ""  # path of the job request; empty: the row has I/O only
    objectives: tuple[Objective, ...] = (IO_OBJECTIVE,)
    keep_io: bool = False  # raising the load raises the jobs only
    io: str = WAIT  # path of the I/O request

    def streams(self, job_rate: float) -> tuple[Stream, ...]:
        """Return the fixed load of the row."""
        io = Stream("io", self.io, IO_RATE)
        return (io, Stream("job", self.job, job_rate)) if self.job else (io,)

    def at_rate(self, plan: LoadPlan, rate: float) -> LoadPlan:
        """Return `plan` with the load that this row raises set to `rate` requests/s."""
        if not self.keep_io:
            return plan.with_rate(rate)
        streams = (replace(s, rate=rate) if s.name == "job" else s for s in plan.streams)
        return replace(plan, streams=tuple(streams))

    def raises(self, stream: Stream) -> bool:
        """Whether raising the load of this row raises the rate of `stream`."""
        return not self.keep_io or stream.name == "job"


_BOTH = (IO_OBJECTIVE, JOB_OBJECTIVE)
MATMUL = "/cpu/matmul?n=600&seed=1"  # numpy; releases the GIL; about 17 ms on a core of 2024
PRIMES = "/cpu/primes?n=300000"  # pure Python; holds it; about as long

SCENARIOS = (
    Scenario(
        "io",
        "high I/O throughput",
        "clustering",
        ("Nx0", "NxT", "NxP"),  # without jobs a cluster is a cluster, whatever pools idle in it
        "slo_rate",
        "capacity",
        io=FAN_OUT,
    ),
    Scenario(
        "cpu",
        "CPU work that releases the GIL",
        "worker threads, per process",
        ("1xT",),
        "slo_rate",
        "io_p95",
        job=MATMUL,
        objectives=_BOTH,
        keep_io=True,
    ),
    Scenario(
        "cpu-gil",
        "CPU work in pure Python",
        "worker threads, per process",
        ("1xT",),
        "slo_rate",
        "io_p95",
        job=PRIMES,
        objectives=_BOTH,
        keep_io=True,
    ),
    Scenario(
        "mixed",
        "I/O and CPU work",
        "clustering + worker threads",
        ("NxT", "NxP"),
        "slo_rate",
        "io_p95",
        job="/mixed?io_ms=20&kernel=matmul&n=600",
        objectives=_BOTH,
        io=FAN_OUT,
    ),
    Scenario(
        "restart",
        "a worker killed under load",
        "clustering + a process manager",
        ("Nx0", "NxT", "NxP"),
        "noticed",
        "noticed",
    ),
)
BY_KEY = {each.key: each for each in SCENARIOS}


@dataclass(frozen=True, slots=True)
class Metric:
    """How a figure is called, and which way is better."""

    key: str
    title: str
    unit: str
    higher_is_better: bool = False
    floor: float = 0.0  # added before ratios, where zero is a possible value


METRICS = {
    each.key: each
    for each in (
        Metric("slo_rate", "highest rate within the objective", "/s", higher_is_better=True),
        Metric("capacity", "closed-loop throughput", "/s", higher_is_better=True),
        Metric("io_mean", "I/O mean beyond its wait", "ms"),
        Metric("io_p50", "I/O p50 beyond its wait", "ms"),
        Metric("io_p95", "I/O p95 beyond its wait", "ms"),
        Metric("io_p99", "I/O p99 beyond its wait", "ms"),
        Metric("cpu_ms", "CPU per request", "ms"),
        Metric("pss_mb", "memory (Σ PSS)", "MB"),
        Metric("failed", "failed requests", "", floor=0.5),
        Metric("noticed", "requests cut off or late, per kill", "", floor=0.5),
        Metric("recovery", "time back to full capacity", "s"),
    )
}
