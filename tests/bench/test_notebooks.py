"""The notebooks run, in their quick profile, against the real server."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import nbformat
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies announce their own futures
    from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def execute(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(NOTEBOOKS)}})
    return client.execute()


@pytest.mark.filterwarnings("ignore")  # of the kernel's own machinery
def test_the_decision_matrix_runs_and_its_orderings_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_NB_PROFILE", "ci")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOKS.parent), *sys.path[:1]]))

    # The last code cell asserts the orderings: an AssertionError would end up here.
    notebook = execute(NOTEBOOKS / "01_decision_matrix.ipynb")

    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    assert not [each for each in outputs if each.output_type == "error"]
    assert sum("image/png" in each.get("data", {}) for each in outputs) == 2
    said = "\n".join(str(each.get("data", {}).get("text/markdown", "")) for each in outputs)
    assert "Best per row" in said
    assert "**no**" not in said


def test_committed_notebooks_stay_small() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        assert path.stat().st_size < 1_000_000, path.name
