"""The same endpoints on other stacks (`peer_stacks`), under the same load in the same run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.peers.stacks import HYBRID, Peer, known_peers
from hybrid.bench.load.generator import LoadFailed, LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.matrix.gates import crowded, neighbours, problems
from hybrid.bench.matrix.scenarios import IO_RATE, IO_WAIT, JOB_LOAD, PRIMES, WAIT
from hybrid.bench.server.fingerprint import fingerprint
from hybrid.bench.server.procfs import busy_seconds
from hybrid.bench.server.served import Server, ServerFailed
from hybrid.bench.server.topology import cpus
from hybrid.bench.theory.statistics import Ratio, quantile, ratio


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of the comparison."""

    key: str
    title: str
    unit: str


MEASURES = (
    Measure("hello_us", "Hello: CPU per request", "µs"),
    Measure("io_us", "I/O: CPU per request", "µs"),
    Measure("io_p95", "I/O alone: p95 beyond its wait", "ms"),
    Measure("beside_p95", "I/O beside jobs: p95 beyond its wait", "ms"),
    Measure("beside_p99", "I/O beside jobs: p99 beyond its wait", "ms"),
    Measure("job_ms", "one job alone", "ms"),
    Measure("pss_mb", "memory (Σ PSS)", "MB"),
)


@dataclass(frozen=True, slots=True)
class PeerCell:
    """One stack in one block."""

    block: int
    peer: str
    values: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """Everything that was measured, and what was skipped."""

    machine: dict[str, Any]
    workers: int
    slots: int
    titles: dict[str, str]
    skipped: dict[str, str]  # reason by peer
    job_rate: float  # jobs/s of the fixed load: half a CPU of hybrid's own
    cells: list[PeerCell]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Comparison:
        """Return what `to_dict` stored."""
        fields = {key: value for key, value in stored.items() if key != "format"}
        return cls(**{**fields, "cells": [PeerCell(**each) for each in fields["cells"]]})

    def against(self, peer: str, measure: str) -> Ratio | None:
        """Return hybrid's figure over the peer's, over the blocks that both have."""
        ours, theirs = self.values(HYBRID, measure), self.values(peer, measure)
        both = sorted(ours.keys() & theirs.keys())
        return ratio([ours[b] for b in both], [theirs[b] for b in both]) if both else None

    def values(self, peer: str, measure: str) -> dict[int, float]:
        """Return a figure by block; blocks that failed a gate take no part."""
        return {
            cell.block: cell.values[measure]
            for cell in self.cells
            if cell.peer == peer and measure in cell.values and not cell.problems
        }


def begin(workers: int = 0, slots: int = 0, peers: Sequence[Peer] | None = None) -> Comparison:
    """Install what can be had; return an empty comparison that names what cannot."""
    workers, slots = workers or max(2, cpus()), slots or max(2, cpus())
    chosen = peers or known_peers()
    skipped = {each.name: why for each in chosen if (why := each.install())}
    titles = {each.name: each.title for each in chosen if each.name not in skipped}
    return Comparison(fingerprint(), workers, slots, titles, skipped, 0.0, [])


def run(
    found: Comparison,
    blocks: int = 3,
    seconds: float = 2.0,
    peers: Sequence[Peer] | None = None,
) -> Iterator[PeerCell]:
    """Measure block after block; in each every stack once, in random order."""
    chosen = [each for each in peers or known_peers() if each.name in found.titles]
    order = random.Random(1)
    with LoadGenerator() as generator:
        if not found.job_rate:
            found.job_rate = _job_rate(chosen[0], found, generator)
        for block in range(blocks):
            order.shuffle(chosen)
            for peer in chosen:
                cell = PeerCell(block, peer.name)
                try:
                    with peer.server(found.workers, found.slots) as server:
                        _Bench(server, generator, found, seconds, cell).measure()
                except (ServerFailed, LoadFailed) as ex:
                    cell.problems.append(f"{type(ex).__name__}: {ex}")
                found.cells.append(cell)
                yield cell


def _job_rate(first: Peer, found: Comparison, generator: LoadGenerator) -> float:
    with first.server(found.workers, found.slots) as server:
        return JOB_LOAD / _job_seconds(server, generator)


def _job_seconds(server: Server, generator: LoadGenerator) -> float:
    plan = LoadPlan(server.host, server.port, (Stream("job", PRIMES),), concurrency=1, duration=0.6)
    rows = generator.run(plan).records
    return float(np.median(rows.uncorrected()[rows.ok]))


@dataclass(frozen=True, slots=True)
class _Bench:
    """One stack under every load."""

    server: Server
    generator: LoadGenerator
    found: Comparison
    seconds: float
    cell: PeerCell

    def measure(self) -> None:
        values = self.cell.values
        values["job_ms"] = 1e3 * _job_seconds(self.server, self.generator)
        self._hello()
        io = Stream("io", WAIT, IO_RATE)
        added = self._open((io,), "io_us")
        self._quantiles(added, (("io_p95", 0.95),))
        added = self._open((io, Stream("job", PRIMES, self.found.job_rate)), "")
        self._quantiles(added, (("beside_p95", 0.95), ("beside_p99", 0.99)))
        values["pss_mb"] = self.server.usage(memory=True).pss / 1e6

    def _hello(self) -> None:
        plan = self._plan(Stream("hello", "/hello"), concurrency=64)
        before = self.server.usage().cpu
        summary = self.generator.run(plan).summary
        cpu = self.server.usage().cpu - before
        # No rate: the generator would be the limit. What a request costs does not depend on it.
        self.cell.values["hello_us"] = 1e6 * cpu / max(summary["answered"], 1)

    def _open(self, streams: tuple[Stream, ...], cpu_key: str) -> np.ndarray[Any, Any]:
        plan = self._plan(*streams, warmup=0.2)
        before, busy = self.server.usage().cpu, busy_seconds()
        result = self.generator.run(plan)
        busy, cpu = busy_seconds() - busy, self.server.usage().cpu - before
        if cpu_key:
            self.cell.values[cpu_key] = 1e6 * cpu / max(result.summary["answered"], 1)
        others = neighbours(busy, cpu, result.summary)
        self.cell.problems.extend(problems(result.summary) + crowded(others))
        return 1e3 * (result.stream("io").latency() - IO_WAIT)

    def _quantiles(self, added: np.ndarray[Any, Any], wanted: Sequence[tuple[str, float]]) -> None:
        for key, q in wanted:
            value = quantile(added, q)
            if value is not None and np.isfinite(value):
                self.cell.values[key] = max(value, 1e-3)

    def _plan(self, *streams: Stream, **fields: Any) -> LoadPlan:
        connections = min(64 * self.found.workers, 512)
        return LoadPlan(
            self.server.host,
            self.server.port,
            streams,
            duration=self.seconds,
            connections=connections,
            seed=self.cell.block + 1,
            **fields,
        )
