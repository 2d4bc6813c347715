"""How many CPUs this process may really use.

``os.cpu_count()`` is the host's number: in a container limited to two CPUs on
a 64-core host it starts 64 busy threads, which use the quota up early in each
period and then all freeze until the next. The budget is therefore

    min(CPUs this process may run on, ceil(cgroup quota / period), CPUs of the host)

Sources: cgroups(7); kernel documentation, cgroup-v2 "cpu.max" and
scheduler/sched-bwc "cpu.cfs_quota_us".
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
_Reader = Callable[[Path], float | None]


def cpu_budget(root: Path = _ROOT) -> int:
    """Return the number of CPUs to plan for, at least 1.

    Args:
        root: where /proc and /sys are looked up; another one in tests.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    quota = cgroup_quota(root)
    if quota is not None:
        limits.append(math.ceil(quota))
    return max(1, min(limits))


def cgroup_quota(root: Path = _ROOT) -> float | None:
    """Return the CPUs granted by cgroup v1 or v2, None without a limit.

    A limit of any ancestor binds too, so the smallest on the way up counts.
    Inside a container the path in /proc/self/cgroup may not exist under the
    mount; then the mount's own files are the container's.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += _along(root / "sys/fs/cgroup", path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in ("sys/fs/cgroup/cpu", f"sys/fs/cgroup/{controllers}"):
                quotas += _along(root / mount, path, _quota_v1)
    return min(quotas, default=None)


def _along(mount: Path, path: str, read: _Reader) -> list[float]:
    relative = PurePosixPath(path.lstrip("/"))
    folders = [mount / relative, *(mount / parent for parent in relative.parents), mount]
    return [quota for folder in dict.fromkeys(folders) if (quota := read(folder)) is not None]


def _quota_v2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    if len(words) != 2 or words[0] == "max":
        return None
    return _ratio(words[0], words[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    if len(quota) != 1 or len(period) != 1:
        return None
    return _ratio(quota[0], period[0])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _ratio(quota: str, period: str) -> float | None:
    """Return quota / period; v1 says "no limit" as -1."""
    try:
        value = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None
