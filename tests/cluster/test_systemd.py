"""What a service manager and a container expect."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import wait_until

SERVE = (sys.executable, "-m", "hybrid", "serve", "--io-workers", "1", "--cpu-pool", "0")
QUIET = ("--no-access-log", "--no-control-socket")


class Manager:
    """The side of systemd: a datagram socket that collects what the service says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.said: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(self.path))
        self._sock.setblocking(False)

    def heard(self, line: str) -> bool:
        while True:
            try:
                self.said += self._sock.recv(4096).decode().splitlines()
            except BlockingIOError:
                return any(said.startswith(line) for said in self.said)

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=20)


def test_the_manager_is_told_of_readiness_reload_stop_and_life(manager: Manager) -> None:
    env = {**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
    process = subprocess.Popen([*SERVE, *QUIET, "--port", "0"], env=env, text=True)
    try:
        wait_until(lambda: manager.heard("READY=1"), what="READY")
        wait_until(lambda: manager.said.count("WATCHDOG=1") >= 3 or manager.heard("x"), what="life")
        assert "STATUS=ready: 1 of 1 workers, generation 1" in manager.said

        manager.said.clear()
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.heard("READY=1"), what="READY again")
        order = [line.split("=")[0] for line in manager.said if "STATUS" not in line]
        assert [o for o in order if o != "WATCHDOG"] == ["RELOADING", "MONOTONIC_USEC", "READY"]
        stamp = next(line for line in manager.said if line.startswith("MONOTONIC_USEC="))
        assert before <= int(stamp.split("=")[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)

        process.send_signal(signal.SIGTERM)
        wait_until(lambda: manager.heard("STOPPING=1"), what="STOPPING")
        assert process.wait(20) == 0
    finally:
        end(process)


def test_an_aborted_reload_ends_with_ready_too(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "versioned.py").write_text("from workloads.app import app\n")
    env = {**os.environ, "NOTIFY_SOCKET": str(manager.path)}
    command = [*SERVE[:4], "versioned:app", *SERVE[4:], *QUIET, "--port", "0"]
    process = subprocess.Popen(command, env=env, text=True, cwd=tmp_path)
    try:
        wait_until(lambda: manager.heard("READY=1"), what="READY")
        manager.said.clear()
        (tmp_path / "versioned.py").write_text("raise ValueError\n")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.heard("RELOADING=1") and manager.heard("READY=1"), what="READY")
    finally:
        end(process)


def test_sockets_of_the_manager_are_served(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    # LISTEN_PID must be the server's own pid, so a shell sets it and becomes the server.
    script = 'exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@"'

    def pass_on() -> None:
        os.dup2(listener.fileno(), 3)

    process = subprocess.Popen(
        ["sh", "-c", script, "sh", *SERVE, *QUIET], preexec_fn=pass_on, pass_fds=(3,), text=True
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        end(process)
        listener.close()


def test_as_pid_1_orphans_are_reaped(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-p", "-f", "true"], timeout=20).returncode:
        pytest.skip("this user may not make a process namespace")
    app = tmp_path / "orphans.py"
    app.write_text(
        "import subprocess\n"
        "from workloads.app import app\n"
        # The shell ends at once; what it leaves behind falls to process 1, our primary.
        "subprocess.run(['sh', '-c', 'sleep 0.3 & sleep 0.3 &'])\n"
    )
    command = [unshare, "-p", "-f", *SERVE[:4], "orphans:app", *SERVE[4:], *QUIET, "--port", "0"]
    outer = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert outer.stderr is not None
    try:
        for line in outer.stderr:
            if "listening on" in line:
                break
        (primary,) = psutil.Process(outer.pid).children()
        wait_until(
            lambda: [p.name() for p in primary.children(recursive=True)].count("sleep") == 0,
            what="no orphan is left, not even as a zombie",
        )
        primary.terminate()
        assert outer.wait(20) == 0
    finally:
        end(outer)
