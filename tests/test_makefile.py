"""What ``make`` says where it cannot set up the environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make in a copy of the project that has no environment yet."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    settings = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", *args, *settings], cwd=folder, capture_output=True, text=True, timeout=60
    )


def python(folder: Path, body: str) -> str:
    """Return a command that stands for somebody's python3."""
    command = folder / "their-python"
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(0o755)
    return str(command)


def test_make_alone_lists_the_verbs(tmp_path: Path) -> None:
    answer = make(tmp_path)
    assert answer.returncode == 0
    assert {"serve", "test"} <= {line.split()[0] for line in answer.stdout.splitlines()}


@pytest.mark.parametrize(("installed", "commands"), [("all", []), ("one", ["update", "install"])])
def test_real_programs_are_installed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str, commands: list[str]
) -> None:
    """Debian's commands are played by scripts that note how they were called."""
    answers = {"all": 'for each in "$@"; do echo installed; done', "one": "echo installed; exit 1"}
    for name, body in {
        "dpkg-query": f"shift 3; {answers[installed]}",
        "apt-get": f'echo "$@" >> {tmp_path}/calls',
    }.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\n{body}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    answer = make(tmp_path, "real-programs")
    assert answer.returncode == 0, answer.stderr
    calls = tmp_path / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    assert [line.split()[0] for line in lines] == commands
    assert all("chromium" in line for line in lines[1:])


def test_a_python_without_ensurepip_gets_the_apt_line(tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError('bare Debian')\n")
    bare = python(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    answer = make(tmp_path, "serve", PYTHON=bare)
    assert answer.returncode != 0
    assert "apt-get install python3-venv" in answer.stdout
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_is_too_old_is_told_so(tmp_path: Path) -> None:
    answer = make(tmp_path, "test", PYTHON=python(tmp_path, "exit 1"))
    assert answer.returncode != 0
    assert "3.11" in answer.stdout


def test_no_python_at_all_is_told_so(tmp_path: Path) -> None:
    answer = make(tmp_path, "serve", PYTHON="no-such-python3")
    assert answer.returncode != 0
    assert "3.11" in answer.stdout
