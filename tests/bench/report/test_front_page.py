"""The README's verdict and picture are those of the recorded matrix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hybrid.bench.cli import bench
from hybrid.bench.matrix.run import load, save
from hybrid.bench.report.front_page import BEGIN, END, between_markers, front_page, heat_map
from tests.bench.made_up import results

ROOT = Path(__file__).resolve().parents[3]
RECORDED = Path("benchmarks/results/matrix.json")
PICTURE = RECORDED.with_suffix(".svg")


def test_the_readme_says_what_was_recorded() -> None:
    found = load(ROOT / RECORDED)

    assert front_page(found, RECORDED, PICTURE) in (ROOT / "README.md").read_text()
    assert (ROOT / PICTURE).read_text() == heat_map(found) + "\n"


def test_what_is_between_the_markers_is_replaced_and_nothing_else() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    once = between_markers(text, "new")

    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert between_markers(once, "new") == once
    with pytest.raises(ValueError, match="no markers"):
        between_markers("nothing here", "new")


def test_stored_results_come_back_and_differ_by_lines(tmp_path: Path) -> None:
    found, path = results({"1x0": 1.0, "Nx0": 2.0}), tmp_path / "new" / "m.json"

    save(found, path)

    assert load(path) == found
    assert len(path.read_text().splitlines()) > len(found.cells)
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match="no results"):
        load(path)


def test_the_report_command_writes_the_readme(tmp_path: Path) -> None:
    stored, readme = tmp_path / "m.json", tmp_path / "README.md"
    save(results({"1x0": 1.0, "Nx0": 2.0}), stored)
    readme.write_text(f"# x\n{BEGIN}\n{END}\n")
    picture = tmp_path / "m.svg"

    options = ["--svg", str(picture), "--readme", str(readme)]
    done = CliRunner().invoke(bench, ["report", str(stored), *options])

    assert done.exit_code == 0, done.output
    assert "on 2 CPUs" in readme.read_text()
    assert picture.read_text().startswith("<svg")
