"""Measure the decision matrix: blocks of every topology, in random order.

A block holds each topology once, so what else the machine does (a neighbour,
a change of clock frequency) hits all of them alike and cancels in ratios
within the block. One topology is in every block twice: its difference from
itself (the A/A row) is what chance alone can do.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hybrid.bench.load.generator import LoadFailed, LoadGenerator
from hybrid.bench.matrix.cells import Bench, Cell, Effort, measure, service_time
from hybrid.bench.matrix.restart_row import measure_restart
from hybrid.bench.matrix.scenarios import BY_KEY, SCENARIOS
from hybrid.bench.server.fingerprint import fingerprint
from hybrid.bench.server.served import ServerFailed
from hybrid.bench.server.topology import Topology, cpus, six, unlimited

AGAIN = "A/A"  # the key of the repeated topology
ALL = tuple(each.key for each in SCENARIOS)


@dataclass(frozen=True, slots=True)
class Profile:
    """How much of the matrix, and how thoroughly."""

    name: str
    topologies: tuple[Topology, ...]
    scenarios: tuple[str, ...] = ALL
    blocks: int = 3
    effort: Effort = field(default_factory=Effort)
    repeated: str = ""  # the topology of the A/A row; empty: none
    unlimited: tuple[Topology, ...] = ()  # as others, without the limit on jobs at once ...
    limit_rows: tuple[str, ...] = ()  # ... measured where that could matter
    seed: int = 1

    def columns(self) -> tuple[Topology, ...]:
        """Return the topologies of one block, the repeated one included."""
        twice = (replace(t, key=AGAIN) for t in self.topologies if t.key == self.repeated)
        return (*self.topologies, *twice, *self.unlimited)

    def rows_of(self, topology: Topology) -> list[str]:
        """Return the scenarios that a column is measured in."""
        wanted = self.limit_rows if topology in self.unlimited else self.scenarios
        return [key for key in self.scenarios if key in wanted]

    @property
    def cells(self) -> int:
        """How many cells a complete run has."""
        return self.blocks * sum(len(self.rows_of(each)) for each in self.columns())


def profile(name: str, workers: int = 0, slots: int = 0) -> Profile:
    """Return a profile by name.

    Args:
        name: "full" (more than an hour), "quick" (about eight minutes), "ci" (two rows,
            three columns, under a minute) or "notebook-ci" (seconds).
        workers: of the clustered topologies; 0: as many as CPUs, at least 2.
        slots: of each pool; 0: the same.
    """
    workers, slots = workers or max(2, cpus()), slots or max(2, cpus())
    columns, open_ended = six(workers, slots), unlimited(workers, slots)
    match name:
        case "full":
            effort = Effort(
                fixed=10.0, closed=5.0, saturation=2.0, steps=4, probe=(2.0, 8.0), restart=3.0
            )
            jobs = tuple(each.key for each in SCENARIOS if each.job)
            return Profile(name, columns, ALL, 5, effort, "NxT", open_ended, jobs)
        case "quick":
            effort = Effort(1.4, 0.1, 0.5, saturation=0.4, probe=(0.7, 0.7), restart=0.8)
            return Profile(name, columns, ALL, 3, effort, "NxT", open_ended, ("mixed",))
        case "ci":
            effort = Effort(fixed=1.5, closed=0.0, saturation=0.4, steps=0, restart=1.6)
            return Profile(name, _some(columns, "1x0", "Nx0", "NxP"), ("io", "cpu"), 3, effort)
        case "notebook-ci":
            effort = Effort(1.0, 0.1, closed=0.3, saturation=0.0, steps=0)
            some = _some(columns, "1x0", "1xT", "1xP")
            return Profile(name, some, ("cpu", "cpu-gil"), 1, effort)
        case _:
            raise ValueError(f"no profile {name!r}; there are full, quick, ci, notebook-ci")


def _some(columns: Sequence[Topology], *keys: str) -> tuple[Topology, ...]:
    return tuple(each for each in columns if each.key in keys)


@dataclass(slots=True)
class Results:
    """A matrix, complete or not: everything that the reports need."""

    profile: Profile
    machine: dict[str, Any]
    service: dict[str, float]  # s one job of a scenario takes alone
    cells: list[Cell]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON."""
        return {
            "format": 1,
            "machine": self.machine,
            "profile": asdict(self.profile),
            "service_s": self.service,
            "complete": len(self.cells) == self.profile.cells,
            "cells": [cell.to_dict() for cell in self.cells],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Results:
        """Return the results that `to_dict` stored."""
        fields = dict(stored["profile"])
        for name in ("topologies", "unlimited"):
            fields[name] = tuple(Topology(**each) for each in fields[name])
        for name in ("scenarios", "limit_rows"):
            fields[name] = tuple(fields[name])
        fields["effort"] = Effort(**{**fields["effort"], "probe": tuple(fields["effort"]["probe"])})
        cells = [Cell(**each) for each in stored["cells"]]
        return cls(Profile(**fields), stored["machine"], stored["service_s"], cells)


def start(wanted: Profile, generator: LoadGenerator) -> Results:
    """Return empty results: the machine, and how long each row's job takes alone on it."""
    service: dict[str, float] = {}
    jobs = {key: BY_KEY[key].job for key in wanted.scenarios if BY_KEY[key].job}
    if jobs:
        first = wanted.topologies[0]
        with first.server() as server:
            bench = Bench(server, generator, wanted.effort, first.io_workers)
            service = {key: service_time(bench, path) for key, path in jobs.items()}
    # A mixed request also waits for I/O; its job is the one of the "cpu" row.
    if "mixed" in service:
        service["mixed"] = service.get("cpu", service["mixed"])
    return Results(wanted, fingerprint(), service, [])


def run(results: Results, generator: LoadGenerator) -> Iterator[Cell]:
    """Measure cell after cell; each is in `results` before it is yielded.

    Cells that `results` has already are not measured again: an interrupted
    matrix goes on where it stopped, in the same order.
    """
    wanted = results.profile
    known = {(cell.block, cell.topology, cell.scenario) for cell in results.cells}
    order = random.Random(wanted.seed)
    for block in range(wanted.blocks):
        columns = list(wanted.columns())
        order.shuffle(columns)
        for topology in columns:
            rows = wanted.rows_of(topology)
            order.shuffle(rows)
            rows.sort(key=lambda key: key == "restart")  # last: it changes the server
            left = [key for key in rows if (block, topology.key, key) not in known]
            for cell in _column(results, generator, topology, block, left):
                results.cells.append(cell)
                yield cell


def _column(
    results: Results,
    generator: LoadGenerator,
    topology: Topology,
    block: int,
    rows: Sequence[str],
) -> Iterator[Cell]:
    """Start one server and measure its cells; a failure is a cell that says so."""
    if not rows:
        return
    effort = results.profile.effort
    done = 0
    try:
        with topology.server() as server:
            bench = Bench(server, generator, effort, topology.io_workers, seed=block + 1)
            for key in rows:
                if key == "restart":
                    cell = measure_restart(bench, block, topology.key)
                else:
                    service = results.service.get(key, 0.0)
                    cell = measure(bench, BY_KEY[key], block, topology.key, service)
                cell.detail["boot_s"] = round(server.boot_seconds, 3)
                done += 1
                yield cell
    except (ServerFailed, LoadFailed, LookupError) as ex:
        for key in rows[done:]:
            yield Cell(block, key, topology.key, problems=[f"{type(ex).__name__}: {ex}"])


# -- Results as JSON files: a line per cell, so that a difference between two files can be read ---


def save(results: Results, path: Path) -> None:
    """Write `results`; a file that is there is replaced in one step."""
    whole = results.to_dict()
    cells = whole.pop("cells")
    head = json.dumps(whole, indent=1, allow_nan=False).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(cell, allow_nan=False) for cell in cells)
    replace_text(path, f'{head},\n "cells": [\n  {lines}\n ]\n}}\n')


def replace_text(path: Path, content: str) -> None:
    """Write a file in one step: a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(content)
    draft.replace(path)


def load(path: Path) -> Results:
    """Read what `save` wrote.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        return Results.from_dict(json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as ex:
        raise ValueError(f"{path} holds no results of the matrix: {ex!r}") from ex


def default_path(results: Results, folder: Path) -> Path:
    """Return a name that says what, when and of which commit."""
    stamp = results.machine["when"].replace(":", "").replace("-", "")
    commit = results.machine["commit"] or "wheel"
    return folder / f"matrix-{results.profile.name}-{stamp}-{commit}.json"
