"""The notebooks run, in their quick profile, against the real server."""

from __future__ import annotations

import warnings
from pathlib import Path

import nbformat
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies announce their own futures
    from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.filterwarnings("ignore")  # of the kernel's own machinery
@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("01_decision_matrix", 2),
        ("02_blocked_loop", 1),
        ("03_threads_and_the_lock", 1),
        ("04_crossing_a_process", 1),
        ("05_finding_a_worker", 1),
        ("06_oversubscription", 1),
        ("07_memory", 1),
        ("08_restarts", 1),
    ],
)
def test_a_notebook_runs_and_its_orderings_hold(
    name: str, figures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_NB_PROFILE", "ci")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(NOTEBOOKS)}})

    # The last code cell asserts the orderings: an AssertionError would end up here.
    client.execute()

    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    assert not [each for each in outputs if each.output_type == "error"]
    assert sum("image/png" in each.get("data", {}) for each in outputs) == figures
    said = "\n".join(str(each.get("data", {}).get("text/markdown", "")) for each in outputs)
    assert "numpy" in said  # the fingerprint
    assert "| yes |" in said
    assert "**no**" not in said


def test_committed_notebooks_stay_small() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        assert path.stat().st_size < 1_000_000, path.name
