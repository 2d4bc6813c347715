from __future__ import annotations

import os
from pathlib import Path

import pytest

from hybrid.system.process.cpu_budget import cgroup_quota, cpu_budget


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_smallest_quota_on_the_way_up_counts_in_version_2(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/pod/box\n")
    write(tmp_path / "sys/fs/cgroup/pod/box/cpu.max", "max 100000\n")
    write(tmp_path / "sys/fs/cgroup/pod/cpu.max", "150000 100000\n")
    assert cgroup_quota(tmp_path) == 1.5


def test_version_1_is_read_and_minus_one_means_no_limit(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:cpu,cpuacct:/box\n")
    for folder, quota in (("box", "50000"), ("", "-1")):
        write(tmp_path / "sys/fs/cgroup/cpu" / folder / "cpu.cfs_quota_us", quota)
        write(tmp_path / "sys/fs/cgroup/cpu" / folder / "cpu.cfs_period_us", "100000")
    assert cgroup_quota(tmp_path) == 0.5
    assert cpu_budget(tmp_path) == 1


@pytest.mark.parametrize("text", ["", "garbage", "x y", "100 0"])
def test_files_that_make_no_sense_are_no_limit(tmp_path: Path, text: str) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", text)
    assert cgroup_quota(tmp_path) is None
    assert cpu_budget(tmp_path) == len(os.sched_getaffinity(0))
