"""The documents say what the code does."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hybrid.core.jobs import ticket
from hybrid.core.workers import lifecycle
from hybrid.http.connection import connection_states as life

ROOT = Path(__file__).parent.parent
MODULES = [*ROOT.glob("hybrid/**/*.py"), *ROOT.glob("workloads/**/*.py")]


def test_the_diagrams_are_those_of_the_transition_tables() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert lifecycle.mermaid() in text
    assert ticket.mermaid() in text
    assert life.mermaid() in text


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


def test_the_command_line_does_not_import_numpy() -> None:
    code = (
        "import sys, hybrid.cli, hybrid.cli.serve, hybrid.pool.job; print('numpy' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "False", result.stderr


def test_only_one_module_forks() -> None:
    forking = [path for path in MODULES if "os.fork(" in path.read_text()]
    assert [path.name for path in forking] == ["fork.py"]


def test_the_packages_carry_what_they_need() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    assert targets["wheel"]["packages"] == ["hybrid", "workloads"]  # the default application
    assert [p for p in targets["sdist"]["include"] if not (ROOT / p).exists()] == []
    for page in ("workloads/home.html", "workloads/py.typed", "hybrid/py.typed"):
        assert (ROOT / page).is_file()
