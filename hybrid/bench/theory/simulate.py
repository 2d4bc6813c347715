"""A queueing simulator: exact for given arrivals and service times.

Kiefer and Wolfowitz (1955) for c servers behind one queue, and the same with
private queues behind a dispatcher. About a microsecond a job; no clock, no
randomness of its own, so a prediction can be compared with a measurement
request by request.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DISPATCH = ("random", "round-robin", "least-loaded")


def waits(arrivals: Sequence[float] | Floats, services: Sequence[float] | Floats, c: int) -> Floats:
    """Return each job's wait behind one queue of `c` servers, first come, first served.

    Args:
        arrivals: shape (n,), seconds, ascending.
        services: shape (n,), seconds.
        c: servers.

    Returns:
        Shape (n,), seconds from arrival to start.
    """
    free = [0.0] * c  # a heap of the times at which the servers become free
    found = np.empty(len(arrivals))
    for index, (at, service) in enumerate(zip(arrivals, services, strict=True)):
        start = max(at, free[0])
        heapq.heapreplace(free, start + service)
        found[index] = start - at
    return found


def waits_dispatched(
    arrivals: Sequence[float] | Floats,
    services: Sequence[float] | Floats,
    queues: int,
    servers: int,
    policy: str = "random",
    seed: int = 1,
) -> Floats:
    """Return each job's wait where a dispatcher feeds private queues.

    Args:
        arrivals: shape (n,), seconds, ascending.
        services: shape (n,), seconds.
        queues: private queues, e.g. I/O workers.
        servers: servers behind each, e.g. pool slots.
        policy: "random" (what a shared listener does, at best), "round-robin",
            or "least-loaded" (fewest jobs present).
        seed: of the random policy.

    Raises:
        ValueError: the policy is unknown.
    """
    if policy not in DISPATCH:
        raise ValueError(f"dispatch policy {policy!r} is not one of {', '.join(DISPATCH)}")
    rng = random.Random(seed)
    free = [[0.0] * servers for _ in range(queues)]
    ends: list[list[float]] = [[] for _ in range(queues)]  # heaps: ends of the jobs present
    found = np.empty(len(arrivals))
    turn = deque(range(queues))
    for index, (at, service) in enumerate(zip(arrivals, services, strict=True)):
        if policy == "random":
            queue = rng.randrange(queues)
        elif policy == "round-robin":
            queue = turn[0]
            turn.rotate(-1)
        else:
            queue = _least_loaded(ends, at)
        start = max(at, free[queue][0])
        heapq.heapreplace(free[queue], start + service)
        if policy == "least-loaded":
            heapq.heappush(ends[queue], start + service)
        found[index] = start - at
    return found


def _least_loaded(ends: list[list[float]], now: float) -> int:
    for jobs in ends:
        while jobs and jobs[0] <= now:
            heapq.heappop(jobs)
    return min(range(len(ends)), key=lambda queue: len(ends[queue]))
