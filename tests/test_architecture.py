"""The documents say what the code does."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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


# Two things of one name, each with its reason.
SAME_NAME = {
    "Ready": "a public resource (hybrid.Ready), and the word of a link (m.Ready)",
    "NpyResponse": "a response class of two frameworks, the same thing in each",
    "Worker": "hybrid.cluster.Worker is what a script forks; hybrid.worker.worker has its inside",
}


def python_files(package: str) -> list[Path]:
    return [p for p in ROOT.glob(f"{package}/**/*.py") if p.name != "__init__.py"]


def test_a_name_means_one_thing() -> None:
    classes, modules = defaultdict(set), defaultdict(set)
    for path in python_files("hybrid"):
        modules[path.stem].add(path)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].add(path)
    twice = {name: where for name, where in (*classes.items(), *modules.items()) if len(where) > 1}
    assert {
        name: sorted(map(str, where)) for name, where in twice.items() if name not in SAME_NAME
    } == {}


def imported_folders(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (package, folder or module in it, another one that it imports) at every level.

    Imports under TYPE_CHECKING count, because a circle of types is a circle for the reader.
    """
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        for alias in node.names:
            there = (*node.module.split("."), alias.name)
            for depth in range(1, min(len(here), len(there))):
                if here[:depth] == there[:depth] and here[depth] != there[depth]:
                    yield ".".join(here[:depth]), here[depth], there[depth]


def test_nothing_is_imported_in_a_circle() -> None:
    arrows: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in python_files("hybrid"):
        for package, one, other in imported_folders(path):
            arrows[package][one].add(other)
    for package, graph in arrows.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as ex:
            pytest.fail(f"{package}: {' -> '.join(ex.args[1])}")


def test_the_codemap_is_that_of_the_modules() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert codemap() == text.split("<!-- codemap -->\n")[1].split("<!-- /codemap -->")[0]


def codemap() -> str:
    """Return a line for every module of hybrid: what its docstring begins with."""
    lines: list[str] = []
    for folder in sorted({path.parent for path in python_files("hybrid")}):
        about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        lines += ["", f"**`{folder.relative_to(ROOT)}/`** {about.splitlines()[0]}", ""]
        for path in sorted(p for p in python_files("hybrid") if p.parent == folder):
            about = ast.get_docstring(ast.parse(path.read_text())) or ""
            lines.append(f"- `{path.stem}` {about.splitlines()[0]}")
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    document = ROOT / "ARCHITECTURE.md"
    before, _, rest = document.read_text().partition("<!-- codemap -->\n")
    after = rest.partition("<!-- /codemap -->")[2]
    document.write_text(f"{before}<!-- codemap -->\n{codemap()}<!-- /codemap -->{after}")
