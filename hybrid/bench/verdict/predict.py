"""What theory says a cell should measure, and what the matrix must show anywhere.

A loop that runs its jobs inline is a single server for everything (M/G/1): an
I/O request waits behind jobs each time it needs the loop. It needs it twice,
when it arrives and when its wait is over. With a pool the loop only hands jobs
on, and theory's answer is zero; what is measured then is the price of sharing
cores and the interpreter lock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from hybrid.bench.matrix.run import Results
from hybrid.bench.matrix.scenarios import JOB_LOAD
from hybrid.bench.server.topology import Topology
from hybrid.bench.theory.formulas import utilisation, wait_behind_jobs

LONG = 3  # blocks from which the smaller differences are asserted too
VISITS = 2  # times an I/O request needs the loop


@dataclass(frozen=True, slots=True)
class Prediction:
    """Theory and measurement: the mean wait of an I/O request, beyond its own."""

    scenario: str
    topology: str
    predicted: float  # ms
    measured: float | None  # ms; median over the blocks


@dataclass(frozen=True, slots=True)
class Ordering:
    """A statement that must hold on any machine, and whether it did."""

    statement: str
    left: float | None
    right: float | None

    @property
    def holds(self) -> bool:
        """Whether left is below right; False where either was not measured."""
        return self.left is not None and self.right is not None and self.left <= self.right


def io_wait(topology: Topology, service: float, jobs: float = JOB_LOAD) -> float:
    """Return the mean seconds an I/O request waits for its loop.

    Args:
        topology: where the jobs run.
        service: seconds a job takes.
        jobs: CPUs kept busy by jobs in the whole server.
    """
    if topology.cpu_pool:
        return 0.0
    rate = jobs / service / topology.io_workers
    return VISITS * wait_behind_jobs([(rate, service)])


def predictions(results: Results) -> list[Prediction]:
    """Return theory and measurement for every row with jobs."""
    return [
        Prediction(
            scenario,
            topology.key,
            1e3 * io_wait(topology, results.service[scenario]),
            typical(results, scenario, topology.key, "io_mean"),
        )
        for scenario in ("cpu", "cpu-gil", "mixed")
        if scenario in results.service
        for topology in results.profile.topologies
    ]


def orderings(results: Results) -> list[Ordering]:
    """Return what the four topologies must show anywhere: orderings, never rates."""

    def value(scenario: str, topology: str, metric: str = "io_mean") -> float | None:
        return typical(results, scenario, topology, metric)

    found = [
        Ordering(
            f"{scenario}: a pool ({lane}) spares the I/O beside it the wait for inline jobs",
            value(scenario, key),
            value(scenario, "1x0"),
        )
        for scenario, lane, key in (
            ("cpu", "threads", "1xT"),
            ("cpu-gil", "processes", "1xP"),
            ("mixed", "threads", "1xT"),
        )
        if scenario in results.profile.scenarios
    ]
    found.append(
        Ordering(
            "cpu-gil: with processes at least three times less wait than inline",
            _times(3.0, value("cpu-gil", "1xP")),
            value("cpu-gil", "1x0"),
        )
    )
    if results.profile.blocks < LONG:
        return found
    found += [
        Ordering(
            f"{scenario}: a cluster only dilutes the wait for inline jobs, but it does",
            value(scenario, "Nx0"),
            value(scenario, "1x0"),
        )
        for scenario in ("cpu", "cpu-gil", "mixed")
    ]
    found.append(
        Ordering(
            "restart: a kill is noticed by fewer requests in a cluster than in one process",
            value("restart", "Nx0", "noticed"),
            value("restart", "1x0", "noticed"),
        )
    )
    return found


def typical(results: Results, scenario: str, topology: str, metric: str) -> float | None:
    """Return the median over the blocks; gates do not matter for an ordering."""
    known = [
        cell.values[metric]
        for cell in results.cells
        if (cell.scenario, cell.topology) == (scenario, topology) and metric in cell.values
    ]
    return median(known) if known else None


def hypothesis(results: Results) -> str:
    """Return the prediction in words, with the numbers of this machine's job."""
    service = results.service.get("cpu")
    if not service:
        return "No job was timed."
    inline = [each for each in results.profile.topologies if not each.cpu_pool]
    alone, load = 1e3 * io_wait(inline[0], service), utilisation(JOB_LOAD / service, service)
    shared = [
        f"{1e3 * io_wait(many, service):.1f} ms in a cluster of {many.io_workers} "
        f"({alone / (1e3 * io_wait(many, service)):.1f} times less: dilution, not a cure), "
        for many in inline[1:]
    ]
    return (
        f"A job takes {1e3 * service:.1f} ms alone. With jobs keeping {load:.0%} of one CPU busy, "
        f"Pollaczek and Khinchine expect an I/O request to wait {alone:.1f} ms on average where "
        f"one process runs the jobs inline, {''.join(shared)}and about none beside a pool."
    )


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else factor * value
