"""The textbook's queueing formulas, where they apply.

Notation: rate λ (arrivals/s), service time S (s), scv C² = Var(S)/E[S]²,
utilisation ρ = λ E[S] / c. All need Poisson arrivals and first come, first served.
Sources: A. O. Allen, "Probability, Statistics and Queueing Theory"; M. Harchol-Balter,
"Performance Modeling and Design of Computer Systems", 2013.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def utilisation(rate: float, service: float, servers: int = 1) -> float:
    """Return ρ; at 1 and above the queue grows without end."""
    return rate * service / servers


def wait_behind_jobs(classes: Sequence[tuple[float, float]]) -> float:
    """Return the mean wait at one loop that serves several kinds of request itself.

    This is what an I/O request suffers where jobs run inline: every request waits
    for all others, W = Σ λ E[S²] / 2(1-ρ).

    Args:
        classes: (rate, constant service time in seconds) of each kind.
    """
    load = sum(rate * service for rate, service in classes)
    if load >= 1.0:
        return math.inf
    return sum(rate * service**2 for rate, service in classes) / (2.0 * (1.0 - load))


def erlang_c(offered: float, servers: int) -> float:
    """Return the probability of having to wait in M/M/c.

    Args:
        offered: λ E[S], in Erlangs; below `servers`.
        servers: c.
    """
    blocked = 1.0
    for k in range(1, servers + 1):  # the stable recursion of Erlang B
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def wait_servers(rate: float, service: float, servers: int, scv: float = 1.0) -> float:
    """Return the mean wait of M/G/c, in seconds (Lee-Longton).

    Exact for scv = 1, and for one server (Pollaczek-Khinchine).
    """
    offered = rate * service
    if offered >= servers:
        return math.inf
    exponential = erlang_c(offered, servers) * service / (servers - offered)
    return (1.0 + scv) / 2.0 * exponential


def gil_speedup(held: float, threads: int) -> float:
    """Return how much faster `threads` threads are than one, on enough cores.

    Exact mean-value analysis of a closed network: the interpreter lock is a queue
    of demand `held`, the rest a delay. It assumes exponential phases and no
    switch interval, so it is a bound, not a promise.

    Args:
        held: fraction of the job that holds the lock, 0 … 1.
        threads: how many run at once.
    """
    queue, throughput = 0.0, 0.0
    for n in range(1, threads + 1):
        residence = held * (1.0 + queue)
        throughput = n / (1.0 - held + residence)
        queue = throughput * residence
    return throughput
