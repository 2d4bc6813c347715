"""What the primary is when it forks: one thread, no application, frozen objects."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hybrid.cli import main

PROBE = """
import gc, json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "7"  # the operator's; the primary's rule is stronger
from hybrid.primary.startup.preload import preload
preload(["colorsys"])
from hybrid.system.process.blas import blas_threads
from hybrid.system.process.processes import thread_count
modules = [m for m in ("numpy", "falcon", "uvloop", "colorsys", "workloads", "workloads.app", "PIL")
           if m in sys.modules]
print(json.dumps([thread_count(), blas_threads(), gc.get_freeze_count(), modules]))
"""


def test_the_primary_forks_with_one_thread_frozen_objects_and_no_application() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
    )
    threads, blas, frozen, modules = json.loads(result.stdout)
    assert threads == 1
    assert blas == 1  # so the variable was set before numpy was loaded
    assert frozen > 10_000
    assert modules == ["numpy", "falcon", "uvloop", "colorsys"]


def test_windows_is_told_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="WSL"):
        main()
