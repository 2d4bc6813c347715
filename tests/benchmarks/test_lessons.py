"""The lessons' arithmetic, on rows that nobody measured; the notebooks' test measures."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.lessons import common, crossing, dispatch, memory, oversubscription, restarts
from benchmarks.lessons.crossing import Crossing
from benchmarks.lessons.memory import Copied, Weight
from benchmarks.lessons.oversubscription import Crowded
from benchmarks.lessons.restarts import Restart


@dataclass(frozen=True)
class Row:
    value: float


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.delenv("HYBRID_NB_PROFILE", raising=False)
    return tmp_path


def test_a_full_measurement_is_recorded_and_shown_again(recordings: Path) -> None:
    asked: list[bool] = []

    def measure(full: bool) -> list[Row]:
        asked.append(full)
        return [Row(1.5)]

    line, measured = common.obtain("lesson", Row, measure, "full")
    again, replayed = common.obtain("lesson", Row, measure, None)

    assert asked == [True]
    assert (line, measured) == (again, replayed)
    assert json.loads((recordings / "lesson.json").read_text())["machine"]["python"]


def test_a_recording_can_be_kept_elsewhere(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_NB_RESULTS", str(tmp_path / "stage"))

    common.obtain("lesson", Row, lambda full: [Row(2.5)], "full")

    assert (tmp_path / "stage" / "lesson.json").exists()
    assert not (tmp_path / "lesson.json").exists()


def test_without_a_recording_it_is_measured_briefly_and_not_recorded(recordings: Path) -> None:
    _, measured = common.obtain("lesson", Row, lambda full: [Row(float(full))], None)

    assert measured == [Row(0.0)]
    assert list(recordings.iterdir()) == []


def test_the_break_even_is_the_shortest_job_that_processes_win() -> None:
    found = [
        Crossing("there", 8, 0.001),
        Crossing("pair", 8, 0.0015, alone=0.0005, threads=0.001),
        Crossing("pair", 8, 0.003, alone=0.002, threads=0.004),
    ]

    assert crossing.break_even(found, 8) == 0.002
    assert crossing.break_even(found[:2], 8) is None
    assert crossing.predicted(found[2], 0.001) == pytest.approx(0.003)


def test_connections_at_random_are_skewed_less_the_more_there_are() -> None:
    few, many = dispatch.at_random(8), dispatch.at_random(512)

    assert few > many > 1.0
    assert many == pytest.approx(1.09, abs=0.03)  # 1 + 1.03 · √(3 / 512), the order statistic


def test_the_simulator_agrees_with_the_textbook() -> None:
    made, expected = dispatch.simulated(), dispatch.theory()

    for name, value in expected.items():
        assert made[name] == pytest.approx(value, rel=0.15), name
    assert made["one shared queue"] < made["private queues, least-loaded"]
    assert made["private queues, least-loaded"] < made["private queues, random"]


def test_a_crowd_is_predicted_to_share_the_cpus() -> None:
    crowd = Crowded("x", 32, 2, 0.010, 0.2, 150.0, 30.0, 0.001, 0.002)

    assert crowd.predicted_run == pytest.approx(0.160)
    assert replace(crowd, allowed=1).predicted_run == pytest.approx(0.010)
    held = oversubscription.orderings([replace(crowd, allowed=2, run=0.02, running=2.1), crowd])
    assert all(held.values())
    assert not all(oversubscription.orderings([crowd, replace(crowd, rate=900.0)]).values())
    # Fewer answers than clients: nothing can be said about how many ran.
    assert crowd.steady
    assert not replace(crowd, rate=10.0).steady


def test_memory_beyond_the_line_is_seen() -> None:
    found = [Weight(n, 60 * n, 40 + 10 * n, 9 * n) for n in (1, 2, 4)]

    assert memory.predicted(found) == {1: 50.0, 2: 60.0, 4: 80.0}


def test_a_list_that_is_not_copied_breaks_a_statement() -> None:
    weights = [Weight(2, 100, 50, 40), Weight(4, 200, 80, 60)]
    shares = {"nothing": 0, "read the array": 0, "read the list": 100, "write the array": 100}
    copied = [Copied(use, 100, private) for use, private in shares.items()]

    assert all(memory.orderings(weights, copied).values())
    broken = [replace(each, private=0) for each in copied]
    assert not all(memory.orderings(weights, broken).values())


def test_littles_law_says_how_many_a_kill_cuts_off() -> None:
    kill = Restart("kill", 4, 5, 0, 0, 1000, 0.2, 0.5, {})

    assert kill.predicted == pytest.approx(5.0)
    assert replace(kill, event="reload").predicted == 0.0


def test_a_reload_that_loses_a_request_breaks_a_statement() -> None:
    kill = Restart("kill", 2, 10, 0, 0, 1000, 0.2, 0.5, {})
    reload = replace(kill, event="reload", cut=0)

    assert all(restarts.orderings([kill, reload]).values())
    assert not all(restarts.orderings([kill, replace(reload, failed=1)]).values())
