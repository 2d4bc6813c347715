"""Whose pid file it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hybrid.errors import ConfigError
from hybrid.primary.pidfile import PidFile


def test_it_holds_the_pid_while_the_server_runs(tmp_path: Path) -> None:
    path = tmp_path / "hybrid.pid"
    with PidFile(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_second_server_is_refused_and_told_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hybrid.pid"
    with PidFile(path), pytest.raises(ConfigError, match=f"process {os.getpid()} is running"):
        PidFile(path).__enter__()
    with PidFile(path):
        pass


@pytest.mark.parametrize("content", ["1\n", "garbage", ""])
def test_a_file_that_nobody_holds_is_stale_even_if_its_number_lives(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "hybrid.pid"
    path.write_text(content)
    with PidFile(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write the pid file"):
        PidFile(tmp_path / "no" / "hybrid.pid").__enter__()


def test_without_a_path_nothing_happens() -> None:
    with PidFile(None):
        pass
