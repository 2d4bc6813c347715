from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from hybrid.bench.server.procfs import session_members
from tests.bench.server.test_served import wait_until


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


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """A shell that runs the suite in the background has it, and so its children, ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
    assert measuring.returncode == 130
    assert "interrupted" in said
    assert len(stored) == 1
    assert not stored[0]["complete"]
    assert stored[0]["cells"]
    assert session_members(measuring.pid) == []


class Counting(BaseHTTPRequestHandler):
    """Answers, and remembers that it was asked."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        Counting.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def counting_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def test_an_interrupted_load_shows_what_it_has_measured(counting_port: int) -> None:
    url = f"http://127.0.0.1:{counting_port}/"
    command = [sys.executable, "-m", "hybrid", "bench", "load", url, "--duration", "60", "--json"]
    options = ["--rate", "100", "--warmup", "0", "--connections", "4"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, start_new_session=True
    ) as measuring:
        wait_until(lambda: Counting.asked > 20, 30.0)
        measuring.send_signal(signal.SIGINT)
        said, _ = measuring.communicate(timeout=30)

    found = json.loads(said)
    assert measuring.returncode == 0
    assert 0 < found["all"]["count"] < 5000
    assert found["all"]["failed"] == 0
    assert found["machine"]["python"]
    assert session_members(measuring.pid) == []
