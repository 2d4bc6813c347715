from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hybrid.bench.procfs import session_members


def await_servers(pid: int, count: int, deadline: float = 30.0) -> None:
    """Wait until `pid` has started so many servers, one after the other."""
    seen: set[int] = set()
    end = time.monotonic() + deadline
    while len(seen) < count:
        assert time.monotonic() < end, f"only {len(seen)} servers were started"
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "serve" in child.cmdline():
                    seen.add(child.pid)
        time.sleep(0.02)


@pytest.mark.soak
def test_an_interrupted_matrix_reports_and_stores_what_it_has(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hybrid", "bench", "matrix", "--ci", "--scenario", "io"]
    with subprocess.Popen(
        [*command, "--blocks", "9", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as measuring:
        await_servers(measuring.pid, 2)  # the second one starts when the first cell is done
        measuring.send_signal(signal.SIGINT)
        said, _ = measuring.communicate(timeout=30)

    stored = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert "interrupted" in said
    assert len(stored) == 1
    assert not stored[0]["complete"]
    assert stored[0]["cells"]
    assert session_members(measuring.pid) == []
