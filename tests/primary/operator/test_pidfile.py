"""Whose pid file it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hybrid.errors import ConfigError
from hybrid.primary.operator.pidfile import PidFile


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


@pytest.mark.parametrize("content", ["1\n", "77", ""])
def test_a_file_that_nobody_holds_is_stale_even_if_its_number_lives(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "hybrid.pid"
    path.write_text(content)
    with PidFile(path):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["precious", "12 monkeys", "1\n2\n", "1" * 40 + "x", "\n"])
def test_a_file_with_other_content_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not a pid file"):
        PidFile(path).__enter__()
    assert path.read_text() == content


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "hybrid.pid", tmp_path / "elsewhere"
    path.symlink_to(other)
    for content in (None, "1\n"):
        if content is not None:
            other.write_text(content)
        with pytest.raises(ConfigError, match="is a symbolic link"):
            PidFile(path).__enter__()
        assert path.is_symlink()
        assert (other.read_text() if other.exists() else None) == content


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for place in (path, Path(os.devnull)):
        with pytest.raises(ConfigError, match="is not a pid file"):
            PidFile(place).__enter__()
        assert place.exists()


def test_a_file_that_another_server_has_made_in_its_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "hybrid.pid"
    first = PidFile(path).__enter__()
    path.unlink()
    with PidFile(path):
        first.__exit__(None, None, None)
        assert path.exists()
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write the pid file"):
        PidFile(tmp_path / "no" / "hybrid.pid").__enter__()


def test_without_a_path_nothing_happens() -> None:
    with PidFile(None):
        pass
