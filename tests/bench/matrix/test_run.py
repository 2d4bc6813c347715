"""The matrix's machinery end to end; the null server stands in for every topology."""

from __future__ import annotations

from dataclasses import dataclass

from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.records import Records, timeline
from hybrid.bench.matrix.cells import Bench, Effort
from hybrid.bench.matrix.restart_row import measure_restart
from hybrid.bench.matrix.run import AGAIN, Profile, run, start
from hybrid.bench.server.served import NULL_SERVER
from hybrid.bench.server.topology import Topology


@dataclass(frozen=True, slots=True)
class Stand(Topology):
    """A topology that is not there yet."""

    def command(self) -> list[str]:
        return list(NULL_SERVER)


@dataclass(frozen=True, slots=True)
class Broken(Topology):
    def command(self) -> list[str]:
        return ["false"]


QUICK = Effort(fixed=0.2, warmup=0.0, closed=0.0, saturation=0.0, steps=0)
BRIEF = Effort(fixed=0.3, warmup=0.1, saturation=0.1, steps=1, probe=(0.1, 0.2))


def test_every_cell_is_measured_in_blocks_with_the_repeated_topology(
    generator: LoadGenerator,
) -> None:
    topologies = (Stand("NxT", "many", 2, 2, "thread"),)
    wanted = Profile("test", topologies, ("io",), blocks=1, effort=BRIEF, repeated="NxT")
    results = start(wanted, generator)

    cells = list(run(results, generator))

    assert len(cells) == wanted.cells == 2
    assert results.to_dict()["complete"]
    assert {c.topology for c in cells} == {"NxT", AGAIN}
    for cell in cells:
        assert cell.values["capacity"] > 100
        assert cell.values["slo_rate"] > 0
        assert cell.values["cpu_ms"] > 0
        assert cell.values["pss_mb"] > 1
        assert cell.values["io_p50"] > 0


def test_a_topology_that_does_not_start_costs_its_cells_only(generator: LoadGenerator) -> None:
    topologies = (Broken("1x0", "none", 1, 0), Stand("Nx0", "one", 1, 0))
    wanted = Profile("test", topologies, ("io", "restart"), blocks=1, effort=BRIEF)

    cells = list(run(start(wanted, generator), generator))

    assert len(cells) == 4
    failed = {(c.topology, c.scenario) for c in cells if c.problems}
    assert {("1x0", "io"), ("1x0", "restart")} <= failed
    # The stand-in has no /status: its restart cell says so and nothing is killed.
    assert ("Nx0", "restart") in failed


def test_the_timeline_counts_answers_per_worker_and_failures() -> None:
    rows = Records.allocate(4)
    rows["intended"][:] = [0.0, 0.05, 0.1, 0.15]
    rows["done"][:3] = [0.02, 0.08, 0.12]
    rows["outcome"][:3] = 1
    rows["worker"][:3] = [0, 1, 0]

    found = timeline(rows, 0.2)

    assert found["0"][:2] == [1, 1]
    assert found["1"][:2] == [1, 0]
    assert found["failed"][:2] == [0, 1]


def test_a_killed_worker_is_counted_and_its_replacement_timed(generator: LoadGenerator) -> None:
    cluster = Topology("Nx0", "cluster only", 2, 0)
    with cluster.server() as server:
        bench = Bench(server, generator, Effort(restart=1.2), workers=2)
        cell = measure_restart(bench, 0, cluster.key)

    assert "recovery" in cell.values, cell.problems
    assert 0.0 < cell.values["recovery"] < 5.0
    # Two kills: `failed` is their sum, `noticed` their mean, and who fails has noticed.
    assert cell.values["failed"] <= 2 * cell.values["noticed"]
    assert len(cell.detail["timeline"]) >= 2


def test_an_interrupted_matrix_goes_on_where_it_stopped(generator: LoadGenerator) -> None:
    topologies = (Stand("1x0", "one", 1, 0), Stand("Nx0", "many", 2, 0))
    wanted = Profile("test", topologies, ("io",), blocks=2, effort=QUICK)
    whole = list(run(start(wanted, generator), generator))
    results = start(wanted, generator)
    results.cells = whole[:1]

    rest = list(run(results, generator))

    assert [(c.block, c.topology) for c in rest] == [(c.block, c.topology) for c in whole[1:]]
    assert results.to_dict()["complete"]
    assert list(run(results, generator)) == []
