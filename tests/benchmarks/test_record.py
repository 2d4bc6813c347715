"""A recording is put in place as a whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.record import Step, fresh, place, record, steps
from hybrid.bench.matrix.run import save
from tests.bench.made_up import results


def write(path: Path) -> None:
    path.write_text("measured")


def refuse(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def test_an_interrupted_recording_goes_on_where_it_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = tmp_path / "a.json", tmp_path / "books" / "b.ipynb"
    with pytest.raises(KeyboardInterrupt):
        record([Step("first", first, write), Step("second", second, refuse)], said.append)

    assert first.read_text() == "measured"
    assert not second.exists()

    record([Step("first", first, refuse), Step("second", second, write)], said.append)

    assert second.read_text() == "measured"
    assert "first: done before" in said


def test_another_commit_starts_over(tmp_path: Path) -> None:
    stage = tmp_path / "recording"
    fresh(stage, "one")
    write(stage / "matrix.json")

    fresh(stage, "one")
    assert (stage / "matrix.json").exists()
    fresh(stage, "two")
    assert not (stage / "matrix.json").exists()


def test_every_notebook_is_recorded_and_the_matrix_comes_before_its_own() -> None:
    found = [step.name for step in steps()]

    assert found[:2] == ["matrix", "peers"]
    assert found[-1].startswith("01")
    assert len(found) == 10


def test_a_finished_recording_is_placed_with_its_picture_and_sentence(tmp_path: Path) -> None:
    stage, shown = tmp_path / "stage", tmp_path / "benchmarks" / "results"
    (stage / "notebooks").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    shown.mkdir(parents=True)
    save(results({"1x0": 1.0, "Nx0": 2.0}), stage / "matrix.json")
    write(stage / "notebooks" / "01.ipynb")
    (tmp_path / "README.md").write_text("<!-- matrix -->\n<!-- /matrix -->\n")

    place(tmp_path, stage)

    assert json.loads((shown / "matrix.json").read_text())["cells"]
    assert (shown / "matrix.svg").read_text().startswith("<svg")
    assert "on 2 CPUs" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "notebooks" / "01.ipynb").exists()
    assert not stage.exists()
