"""Which machine, kernel, Python and libraries a result was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("falcon", "numpy", "uvloop", "httptools", "orjson")


def fingerprint() -> dict[str, Any]:
    """Return everything that could explain a different figure elsewhere, as JSON."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cpus": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "host_cpus": os.cpu_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "kernel": platform.release(),
        "load": [round(each, 2) for each in os.getloadavg()],
        "pressure": _read("/proc/pressure/cpu"),
        "steal_ticks": _steal(),
        "memory_mb": _memory_mb(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "free_threaded_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "switch_interval": sys.getswitchinterval(),
        "packages": {name: _version(name) for name in PACKAGES},
        "blas": _blas(),
        "commit": _commit(),
    }


def one_line(found: dict[str, Any]) -> str:
    """Return the fingerprint as a caption."""
    count = len(found["cpus"] or ()) or found["host_cpus"]
    return (
        f"{found['cpu']}, {count} CPUs, Linux {found['kernel']}, Python {found['python']}, "
        f"numpy {found['packages']['numpy']}, {found['when']}"
    )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_mb() -> int | None:
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _steal() -> int | None:
    first = (_read("/proc/stat") or "").splitlines()[:1]
    fields = first[0].split() if first else []
    return int(fields[8]) if len(fields) > 8 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _blas() -> list[dict[str, Any]]:
    """Return the BLAS libraries of *this* process; slots set their own thread number."""
    try:
        import numpy as np
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    np.dot(np.ones(1), np.ones(1))  # now it is loaded
    keys = ("internal_api", "version", "num_threads")
    return [{key: each.get(key) for key in keys} for each in threadpool_info()]


def _commit() -> str | None:
    """Return the commit of the source tree; None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
