"""One round: load on a running server, and what it cost the server's processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Case:
    """What is asked of every server."""

    name: str
    path: str
    connections: int = 32
    body: bytes | None = None


@dataclass(frozen=True)
class Round:
    """What came out of one round."""

    cpu_us: float  # user + system of the server's processes, per answered request
    per_second: float
    p99_ms: float
    failed: int  # requests without a 2xx


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_until_it_answers(port: int, patience: float = 30.0) -> None:
    """Return when a server answers on the port; one that listens may still be starting.

    Raises:
        TimeoutError: nobody did in time.
    """
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=left) as sock:
                # Not "Connection: close": one peer does not survive it.
                sock.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
                if sock.recv(65536):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"nobody answers on port {port} after {patience:g} s")


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Return user + system time of the process and its descendants so far."""
    total = 0
    for member in tree(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def memory_kb(pid: int) -> int:
    """Return the memory of the whole tree in KB, every shared page counted once (PSS)."""
    total = 0
    for member in tree(pid):
        lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


@contextlib.contextmanager
def awake(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a server run that otherwise stands still: one of the peers never sleeps by itself."""
    os.killpg(server.pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.killpg(server.pid, signal.SIGSTOP)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server's whole process group."""
    with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
        os.killpg(server.pid, signal.SIGCONT)
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(5)


def run_round(pid: int, port: int, case: Case, seconds: int, cpu: int) -> Round:
    """Load the server for so many seconds and return what it cost."""
    url = f"http://127.0.0.1:{port}{case.path}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        command = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{case.connections}"]
        command += [f"-d{seconds}s", "--latency", "--timeout", "10s"]
        if case.body is not None:
            body = case.body.decode("ascii").replace("\\", "\\\\").replace("'", "\\'")
            script.write(f"wrk.method = 'POST'\nwrk.body = '{body}'\n")
            script.write("wrk.headers['Content-Type'] = 'application/json'\n")
            script.flush()
            command += ["-s", script.name]
        before = cpu_seconds(pid)
        text = subprocess.run(
            [*command, url], capture_output=True, text=True, check=True, timeout=seconds + 30
        ).stdout
        spent = cpu_seconds(pid) - before
    return parse(text, spent)


def parse(text: str, spent: float) -> Round:
    """Return the figures in wrk's report.

    Raises:
        ValueError: there are none.
    """
    requests = int(_find(r"(\d+) requests in", text))
    if not requests or not spent:
        raise ValueError(f"nothing was answered, or for nothing:\n{text}")
    quantile = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Round(
        cpu_us=spent / requests * 1e6,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        p99_ms=float(quantile[1]) * _UNITS[quantile[2]] if quantile else float("nan"),
        failed=(int(failed[1]) if failed else 0)
        + (sum(int(n) for n in errors.groups()) if errors else 0),
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"wrk's report has no {pattern!r}:\n{text}")
    return found[1]
