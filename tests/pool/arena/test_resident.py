"""Resident arrays: computed once per host, mapped by everybody, changed by nobody."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.errors import ConfigError
from hybrid.pool.arena.resident import resident

computed: list[int] = []


def table():
    computed.append(os.getpid())
    return np.arange(100_000.0)


def broken():
    raise RuntimeError("no table today")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HYBRID_RESIDENT_DIR", str(tmp_path / "resident"))
    computed.clear()
    return tmp_path / "resident"


def test_a_file_is_mapped_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(10))

    array = resident("a", tmp_path / "a.npy")

    assert type(array) is np.ndarray
    assert not array.flags.writeable
    assert array.tolist() == list(range(10))


def test_an_array_is_computed_once_and_mapped() -> None:
    first, second = resident("table", table), resident("table", table)

    assert len(computed) == 1
    assert not first.flags.writeable
    np.testing.assert_array_equal(first, second)


def test_a_new_version_is_computed_anew() -> None:
    resident("table", table, version="1")
    resident("table", table, version="2")

    assert len(computed) == 2


def test_processes_that_ask_at_once_compute_once(directory: Path) -> None:
    reader, writer = os.pipe()
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            array = resident("table", table)
            os.write(writer, bytes([len(computed), int(array[1])]))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(writer)
    assert select.select([reader], [], [], 5)[0]
    counts = os.read(reader, 100)
    os.close(reader)

    assert sum(counts[::2]) == 1
    assert set(counts[1::2]) == {1}
    assert len(list(directory.glob("*.npy"))) == 1


def test_a_failed_computation_leaves_no_array(directory: Path) -> None:
    with pytest.raises(RuntimeError, match="today"):
        resident("broken", broken)

    assert not list(directory.glob("*.npy"))


def test_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)

    with pytest.raises(ValueError, match="objects"):
        resident("o", tmp_path / "o.npy")


def test_a_directory_of_somebody_else_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    with pytest.raises(ConfigError, match="HYBRID_RESIDENT_DIR"):
        resident("table", table)


@pytest.mark.parametrize("left", [0, 50, 10_000])
def test_a_computed_file_that_is_damaged_is_computed_anew(
    directory: Path, caplog: pytest.LogCaptureFixture, left: Any
) -> None:
    resident("table", table)
    (path,) = directory.glob("*.npy")
    os.truncate(path, left)

    array = resident("table", table)

    assert array[-1] == 99_999.0
    assert len(computed) == 2
    assert str(path) in caplog.text


def test_a_file_of_the_user_that_is_damaged_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"")

    with pytest.raises(EOFError):
        resident("a", tmp_path / "a.npy")

    assert (tmp_path / "a.npy").exists()
