from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hybrid.bench.advise import measure as advise_measure
from hybrid.bench.advise.advise import advise, sentences
from hybrid.bench.advise.measure import Cost, Endpoint, Measured
from hybrid.bench.advise.model import (
    TopologyCandidate,
    candidates,
    flips_at,
    forecast,
    lock_share,
    rank,
    rule_of_thumb,
    weight,
)
from hybrid.bench.advise.timejob import time_job
from hybrid.bench.advise_command import advise as command
from hybrid.cli import cli

IO = Cost("GET /io", loop=0.0002, idle=0.02)
NUMPY = Cost("GET /numpy", loop=0.0003, job=0.02, speedup=1.95)
PYTHON = Cost("GET /python", loop=0.0003, job=0.02, speedup=1.0)
MB = 1_000_000


def advice_for(*costs: Cost, rate: float = 60.0, cpus: int = 2, objective: float = 0.01) -> object:
    measured = Measured(costs, 30 * MB)
    return advise(measured, rate, objective, cpus=cpus, memory=2000 * MB)


def test_a_light_application_is_told_to_stay_simple() -> None:
    found = advice_for(IO, rate=200.0)

    assert found.best.candidate == TopologyCandidate(1, "inline", 0)  # type: ignore[attr-defined]


def test_jobs_that_release_the_lock_get_threads_and_those_that_hold_it_processes() -> None:
    numpy = advice_for(IO, NUMPY)
    python = advice_for(IO, PYTHON)

    assert numpy.best.candidate.lane == "thread"  # type: ignore[attr-defined]
    assert python.best.candidate.lane == "process"  # type: ignore[attr-defined]


def test_io_beyond_one_loop_gets_a_cluster() -> None:
    heavy = replace(IO, loop=0.001)

    found = advice_for(heavy, rate=1500.0)

    assert found.best.candidate.workers > 1  # type: ignore[attr-defined]
    assert found.best.candidate.lane == "inline"  # type: ignore[attr-defined]


def test_a_load_that_nothing_sustains_is_said() -> None:
    found = advice_for(PYTHON, rate=500.0)

    assert sentences(found, "a:b")[0].startswith("No topology sustains")  # type: ignore[arg-type]


def test_the_advice_names_numbers_flip_and_command() -> None:
    said = sentences(advice_for(IO, PYTHON), "app:app")  # type: ignore[arg-type]

    assert "a job takes 20.0 ms" in said[1]
    assert any(line.startswith("What would flip it") for line in said)
    assert any("2 × CPUs + 1 = 5 processes" in line for line in said)
    assert said[-1].startswith("hybrid serve app:app --io-workers 1 --cpu-pool")


def test_inline_jobs_delay_everybody_and_a_pool_does_not() -> None:
    costs, rates = [IO, NUMPY], [50.0, 20.0]

    inline = forecast(TopologyCandidate(1, "inline", 0), costs, rates, 4)
    pooled = forecast(TopologyCandidate(1, "process", 2), costs, rates, 4)

    assert inline.io_p99 > 0.02
    assert pooled.io_p99 < 0.002
    assert weight(pooled.candidate, 30 * MB) > weight(inline.candidate, 30 * MB)


def test_a_simulated_cluster_dilutes_the_wait_for_inline_jobs() -> None:
    costs, rates = [IO, PYTHON], [100.0, 20.0]

    one, four = (forecast(TopologyCandidate(n, "inline", 0), costs, rates, 4) for n in (1, 4))

    assert four.io_p99 < one.io_p99


def test_memory_beyond_the_budget_is_ranked_last() -> None:
    costs, rates = [IO, PYTHON], [50.0, 20.0]
    shapes = [TopologyCandidate(n, "process", 2) for n in (1, 4)]
    two = [forecast(c, costs, rates, 4, weight(c, 50 * MB)) for c in shapes]

    assert rank(two, 100 * MB, 0.01)[0].candidate.workers == 1


def test_below_some_load_the_simplest_topology_meets_the_objective() -> None:
    share = flips_at(TopologyCandidate(1, "inline", 0), [IO, PYTHON], [50.0, 20.0], 4, 0.015)

    assert share is not None
    assert 0.0 < share < 1.0


@pytest.mark.parametrize(("speedup", "share"), [(2.0, 0.0), (1.0, 1.0), (1.6, 0.5)])
def test_two_threads_tell_how_much_of_a_job_holds_the_lock(speedup: float, share: float) -> None:
    assert lock_share(speedup) == pytest.approx(share)


def test_candidates_start_with_the_simplest() -> None:
    found = candidates(4)

    assert found[0] == TopologyCandidate(1, "inline", 0)
    assert {c.lane for c in found} == {"inline", "thread", "process"}
    assert rule_of_thumb(4).workers == 9
    assert {c.lane for c in candidates(4, jobs=False)} == {"inline"}


def test_a_function_is_timed_alone_and_twice_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timed_here.py").write_text("def holds():\n    return sum(range(30_000))\n")
    monkeypatch.syspath_prepend(tmp_path)

    found = time_job("timed_here:holds", 0.1)

    assert 0.0 < found["mean"] < 0.1
    assert found["speedup"] < 1.7
    assert not math.isnan(found["scv"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["app:app"], ["app:app", "--post", "/y"], ["a:b", "--get", "/", "--job", "c:d"]],
)
def test_an_incomplete_question_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2


def test_a_job_that_cannot_be_imported_is_one_clear_line() -> None:
    done = CliRunner().invoke(command, ["--job", "no_such_module:f"])

    assert done.exit_code == 1
    assert "no_such_module" in done.output
    assert "Traceback" not in done.output


def test_an_application_is_measured_and_advised_on() -> None:
    arguments = ["workloads.app:app", "--get", "/hello", "--get", "/cpu/primes?n=50000"]

    done = CliRunner().invoke(command, [*arguments, "--seconds", "0.15", "--rate", "40"])

    assert done.exit_code == 0, done.output
    assert "hybrid serve workloads.app:app --io-workers" in done.output


def test_a_function_is_advised_on_and_the_advice_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "verified_here.py").write_text("def holds():\n    return {sum(range(30_000))}\n")
    monkeypatch.chdir(tmp_path)

    options = ["--seconds", "0.1", "--rate", "30", "--verify"]
    done = CliRunner().invoke(command, ["--job", "verified_here:holds", *options])

    assert done.exit_code == 0, done.output
    measured = done.output.partition("Predicted against measured")[2]
    rows = [line.split() for line in measured.partition("failed")[2].splitlines()]
    rows = [words for words in rows if words]
    assert len(rows) == 3  # the best two and the rule of thumb
    assert all(words[-1] == "0" for words in rows), measured  # none failed


def test_a_body_says_what_it_holds(tmp_path: Path) -> None:
    array = tmp_path / "grid.npy"
    np.save(array, np.random.default_rng(1).random((60, 60)))
    options = ["--post", f"/cpu/hillshade=@{array}", "--seconds", "0.15", "--rate", "20"]

    done = CliRunner().invoke(command, ["workloads.app:app", *options])

    assert done.exit_code == 0, done.output
    assert "POST /cpu/hillshade" in done.output
    own = Endpoint("POST", "/", str(array), (("content-type", "text/plain"),))
    assert own.stream().headers == (("content-type", "text/plain"),)


def test_busy_neighbours_spoil_advice_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advise_measure, "busy_neighbours", lambda: 1.5)

    options = ["--get", "/hello", "--seconds", "0.1"]
    done = CliRunner().invoke(command, ["workloads.app:app", *options])

    assert "other programs kept 1.50 CPUs busy during the measurement" in done.output


def test_an_endpoint_that_fails_is_named() -> None:
    arguments = ["workloads.app:app", "--get", "/nothing/here", "--seconds", "0.2"]

    done = CliRunner().invoke(command, arguments)

    assert done.exit_code == 1
    assert "GET /nothing/here does not answer properly: {'404'" in done.output


def test_advise_is_a_command_of_its_own() -> None:
    done = CliRunner().invoke(cli, ["advise", "--help"])

    assert done.exit_code == 0, done.output
    assert "--verify" in done.output
    assert "--job MODULE:FUNCTION" in done.output
