"""The second third of advice: simulate every sensible topology, and rank them.

The model: each worker is a loop that serves one request at a time; jobs run on
the loop (inline) or in the worker's slots, at most one per CPU in the whole
server. Times are drawn from the measured mean and variability. What it leaves
out (caches, the scheduler) is why `--verify` exists.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybrid.bench.advise.measure import Cost

Floats = NDArray[np.float64]

ARRIVALS = 10_000  # simulated requests: 100 beyond the p99; 50 ms of computing per topology
HOP = 0.2e-3  # s for a job to reach a pool process and come back
COPY = 1.0 / 2e9  # s/byte across the process boundary
MEMBER_BYTES = 6_000_000  # PSS of a pool process
TOO_BUSY = 0.85  # utilisation above which a topology is not advised


@dataclass(frozen=True, slots=True)
class TopologyCandidate:
    """A topology that could be advised."""

    workers: int
    lane: str  # inline, thread or process
    slots: int  # per worker; 0 for inline

    @property
    def flags(self) -> tuple[str, ...]:
        """The options of `hybrid serve` that make it."""
        shape = ("--io-workers", str(self.workers), "--cpu-pool", str(self.slots))
        return shape if self.lane == "inline" else (*shape, "--cpu-lane", self.lane)

    @property
    def short(self) -> str:
        """Its shape in a table."""
        slots = f" × {self.slots} {self.lane}" if self.slots else " inline"
        return f"{self.workers}{slots}"

    @property
    def approach(self) -> str:
        """What the decision matrix calls it."""
        pool = {"thread": "worker threads", "process": "pool processes"}.get(self.lane)
        if self.workers == 1:
            return f"one process with {pool}" if pool else "a single process"
        return f"clustering + {pool}" if pool else "clustering"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the simulation expects of a candidate; times in seconds."""

    candidate: TopologyCandidate
    io_p99: float  # beyond its own idle time, of requests without a job; nan: there are none
    job_p99: float  # of requests with a job; nan: there are none
    loop_load: float  # utilisation of one loop
    cpu_load: float  # of all CPUs together
    memory: int  # bytes

    @property
    def sustainable(self) -> bool:
        """Whether the load can be served without end, with some reserve."""
        return max(self.loop_load, self.cpu_load) < TOO_BUSY


def candidates(cpus: int, *, jobs: bool = True) -> list[TopologyCandidate]:
    """Return every topology worth simulating, the simplest first."""
    sizes = sorted({1, 2, cpus} | {2**k for k in range(2, 6) if 2**k <= cpus})
    found = [TopologyCandidate(n, "inline", 0) for n in sizes]
    if jobs:
        for slots in sorted({1, 2, cpus}):
            found += [
                TopologyCandidate(n, lane, slots) for n in sizes for lane in ("thread", "process")
            ]
    return sorted(found, key=lambda c: (c.workers * (1 + c.slots), c.lane != "inline"))


def rule_of_thumb(cpus: int) -> TopologyCandidate:
    """Return what many server manuals advise without measuring: 2 × CPUs + 1 processes."""
    return TopologyCandidate(2 * cpus + 1, "inline", 0)


def forecast(
    candidate: TopologyCandidate,
    costs: Sequence[Cost],
    rates: Sequence[float],
    cpus: int,
    memory: int = 0,
    seed: int = 1,
) -> Forecast:
    """Simulate one candidate under Poisson arrivals.

    Args:
        candidate: the topology.
        costs: of each endpoint.
        rates: requests/s of each endpoint.
        cpus: that the server may use.
        memory: bytes it would take; see `weight`.
        seed: the same for all candidates, so that they meet the same arrivals.
    """
    loop_load, cpu_load = _loads(candidate, costs, rates, cpus)
    if max(loop_load, cpu_load) >= 0.98:
        return Forecast(candidate, math.inf, math.inf, loop_load, cpu_load, memory)
    kinds, latency = _simulate(candidate, costs, rates, cpus, seed)
    with_job = np.array([cost.has_job for cost in costs])[kinds]
    idle = np.array([cost.idle for cost in costs])[kinds]
    return Forecast(
        candidate,
        _p99((latency - idle)[~with_job]),
        _p99(latency[with_job]),
        loop_load,
        cpu_load,
        memory,
    )


def weight(candidate: TopologyCandidate, worker_bytes: int, base_bytes: int = 0) -> int:
    """Return the memory of a topology: what all share, once, and what each process has alone."""
    members = candidate.workers * candidate.slots if candidate.lane == "process" else 0
    return base_bytes + candidate.workers * worker_bytes + members * MEMBER_BYTES


def rank(forecasts: Sequence[Forecast], memory: int, objective: float) -> list[Forecast]:
    """Return the forecasts, best first.

    Within the objective every candidate is good enough, and the simplest wins;
    beyond it the fastest does.

    Args:
        forecasts: in the order of simplicity.
        memory: bytes that may be used.
        objective: seconds the I/O requests may be delayed at p99.
    """

    def key(item: tuple[int, Forecast]) -> tuple[bool, bool, float, float, int]:
        order, each = item
        late = _worst(each)
        return (
            not each.sustainable,
            each.memory > memory,
            0.0 if late <= objective else late,
            _coarse(each.job_p99),
            order,
        )

    return [each for _, each in sorted(enumerate(forecasts), key=key)]


def flips_at(
    candidate: TopologyCandidate,
    costs: Sequence[Cost],
    rates: Sequence[float],
    cpus: int,
    objective: float,
) -> float | None:
    """Return the share of the load below which a simpler candidate meets the objective."""
    low, high = 0.0, 1.0
    for _ in range(7):  # to within 1 %
        middle = (low + high) / 2
        found = forecast(candidate, costs, [middle * r for r in rates], cpus)
        good = found.sustainable and _worst(found) <= objective
        low, high = (middle, high) if good else (low, middle)
    return low if low > 0.0 else None


def _loads(
    candidate: TopologyCandidate, costs: Sequence[Cost], rates: Sequence[float], cpus: int
) -> tuple[float, float]:
    """Return the utilisation of one loop, and that of all CPUs (or slots) together."""
    loop = sum(rate * cost.loop for rate, cost in zip(rates, costs, strict=True))
    jobs = sum(rate * cost.job for rate, cost in zip(rates, costs, strict=True))
    computed = sum(r * c.job for r, c in zip(rates, costs, strict=True) if not c.waits)
    if candidate.lane == "inline":
        return (loop + jobs) / candidate.workers, (loop + computed) / cpus
    slots = jobs / (candidate.workers * candidate.slots)
    if candidate.lane == "thread":  # the lock lets through what two threads showed
        fastest = _threads_at_once(costs, rates)
        slots = max(slots, computed / (candidate.workers * fastest))
    return loop / candidate.workers, max((loop + computed) / cpus, slots)


def _threads_at_once(costs: Sequence[Cost], rates: Sequence[float]) -> float:
    """Return how many threads' worth of jobs one process gets through, given its lock."""
    busy = [(r * c.job, lock_share(c.speedup)) for r, c in zip(rates, costs, strict=True)]
    total = sum(weight for weight, _ in busy)
    held = sum(weight * share for weight, share in busy) / total if total else 0.0
    return 1.0 / max(held, 1e-3)


def lock_share(speedup: float) -> float:
    """Return the share g of a job that holds the interpreter lock.

    From two threads, by the closed network's exact solution: X(2) = 2 / (1 + g²).
    """
    return math.sqrt(max(2.0 / speedup - 1.0, 0.0))


def _simulate(
    candidate: TopologyCandidate,
    costs: Sequence[Cost],
    rates: Sequence[float],
    cpus: int,
    seed: int,
) -> tuple[NDArray[np.intp], Floats]:
    rng = np.random.default_rng(seed)
    total = float(sum(rates))
    arrivals = np.cumsum(rng.exponential(1.0 / total, ARRIVALS))
    kinds = rng.choice(len(costs), size=ARRIVALS, p=np.asarray(rates) / total)
    workers = rng.integers(0, candidate.workers, ARRIVALS)
    jobs = np.zeros(ARRIVALS)
    for index, cost in enumerate(costs):
        mine = kinds == index
        jobs[mine] = _draw(cost, int(mine.sum()), rng)
    done = _Server(candidate, costs, cpus).serve(arrivals, kinds, workers, jobs)
    return kinds, done - arrivals


def _draw(cost: Cost, count: int, rng: np.random.Generator) -> Floats:
    if not cost.has_job or cost.scv < 1e-4:
        return np.full(count, cost.job)
    shape = 1.0 / cost.scv  # a gamma law can have any mean and variability
    return rng.gamma(shape, cost.job / shape, count)


class _Server:
    """The simulated server: when each loop, slot and CPU becomes free (seconds)."""

    def __init__(self, candidate: TopologyCandidate, costs: Sequence[Cost], cpus: int) -> None:
        self.candidate, self.costs = candidate, costs
        self.loops = [0.0] * candidate.workers
        self.slots = [[0.0] * max(candidate.slots, 1) for _ in range(candidate.workers)]
        self.permits = [0.0] * cpus
        self.shares = [lock_share(cost.speedup) for cost in costs]

    def serve(
        self, arrivals: Floats, kinds: NDArray[np.intp], workers: NDArray[np.int64], jobs: Floats
    ) -> Floats:
        """Return when each request is answered.

        Each request visits its loop twice: to be taken, and to be answered. All visits
        are events in one heap, in the order of time. Walking over the requests instead
        (take, run, answer, next) would book a loop for an answer far in the future, and
        a request that arrives in between would wait for a loop that is free.
        """
        events: list[tuple[float, int, bool]] = [(t, k, True) for k, t in enumerate(arrivals)]
        heapq.heapify(events)
        done = np.empty(len(arrivals))
        while events:
            now, row, first = heapq.heappop(events)
            worker, cost = int(workers[row]), self.costs[kinds[row]]
            inline = self.candidate.lane == "inline"
            work = cost.loop / 2 + (float(jobs[row]) if inline and first else 0.0)
            free = max(now, self.loops[worker]) + self._lock_delay(worker, now) + work
            self.loops[worker] = free
            if not first:
                done[row] = free
                continue
            if cost.has_job and not inline:
                free = self._job(worker, int(kinds[row]), free, float(jobs[row]))
            heapq.heappush(events, (free + cost.idle, row, False))
        return done

    def _job(self, worker: int, kind: int, now: float, length: float) -> float:
        cost = self.costs[kind]
        if self.candidate.lane == "process":
            length += HOP + COPY * (cost.sent + cost.answered)
        start = max(now, self.slots[worker][0])
        if not cost.waits:
            start = max(start, self.permits[0])
            heapq.heapreplace(self.permits, start + length)
        heapq.heapreplace(self.slots[worker], start + length)
        return start + length

    def _lock_delay(self, worker: int, now: float) -> float:
        """Return what a loop waits for the lock while a thread of its own computes.

        A thread that holds the lock gives it up after the switch interval: the
        expected delay is that interval, as often as a job that holds it is running.
        """
        if self.candidate.lane != "thread":
            return 0.0
        running = sum(1 for end in self.slots[worker] if end > now)
        held = max(self.shares, default=0.0)
        return sys.getswitchinterval() * held if running else 0.0


def _p99(values: Floats) -> float:
    return float(np.quantile(values, 0.99)) if len(values) else math.nan


def _worst(each: Forecast) -> float:
    """Return the I/O delay, or the jobs' latency where there is nothing else."""
    return each.job_p99 if math.isnan(each.io_p99) else each.io_p99


def _coarse(seconds: float) -> float:
    """Round to 20 %: a difference below that does not justify more processes."""
    if math.isnan(seconds) or seconds <= 0.0 or math.isinf(seconds):
        return 0.0 if math.isnan(seconds) or seconds <= 0.0 else math.inf
    return float(round(math.log(seconds) / math.log(1.2)))
