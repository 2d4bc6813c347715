"""Standard streams that are closed, full, or whose reader is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cluster.conftest import PATIENCE, Run, Server, wait_until

Serve = Callable[..., Server]
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
COMMANDS = (
    "--version",
    "serve --help",
    "serve --print-config",
    "check",
    "status",
    "status --json",
    "top --count 2 --interval 50ms",
    "scale 1",
    "stop",
)


@pytest.mark.parametrize("closed", CLOSED)
def test_a_server_without_its_standard_streams_serves_and_stops(
    serve: Serve, tmp_path: Path, closed: str
) -> None:
    path = tmp_path / "socket"
    bind = ("--bind", f"unix:{path}", "--bind", "127.0.0.1:0")
    quiet = ("--no-control-socket", "--log-level", "debug")
    server = serve(
        "-w", "1", "--cpu-pool", "1", *bind, *quiet, ready=False, shell=f'exec "$@" {closed}'
    )
    wait_until(lambda: _answers(path) or server.process.poll() is not None, what=server.log)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=PATIENCE) as client:
        assert client.get("http://localhost/cpu/primes?n=100&lane=process").status_code == 200
    for process in [psutil.Process(server.pid), *server.remember()]:
        for number in (0, 1, 2):
            assert not os.readlink(f"/proc/{process.pid}/fd/{number}").startswith("socket:")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0, server.log
    server.assert_gone()
    assert not path.exists()


def test_a_script_without_standard_streams_is_a_primary_all_the_same(
    run: Run,
    tmp_path: Path,
) -> None:
    result = tmp_path / "result"
    script = run("no_standard_streams.py", str(result))
    assert script.wait_exit() == 0
    assert result.read_text() == " ".join([os.devnull] * 3)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("place", [">/dev/full", "| true", ">&-"])
def test_no_command_ends_with_a_traceback_when_it_cannot_print(
    serve: Serve, tmp_path: Path, place: str, unbuffered: str
) -> None:
    control = tmp_path / "control"
    server = serve("-w", "1", "--cpu-pool", "0", "--control-socket", str(control))
    env = {
        **os.environ, "HYBRID_CONTROL_SOCKET": str(control), "PYTHONUNBUFFERED": unbuffered
    }  # fmt: skip

    for command in COMMANDS:
        result = subprocess.run(
            ["sh", "-c", f'"$0" -m hybrid {command} {place}', sys.executable],
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=env,
        )
        assert "Traceback" not in result.stderr, command
        assert "Exception ignored" not in result.stderr, command
        if place == ">/dev/full":
            assert result.returncode == 1, command
            assert "cannot be written: No space left" in result.stderr, command
        else:  # of a pipeline the shell returns the last code
            assert (result.returncode, result.stderr) == (0, ""), command

    assert server.wait_exit() == 0
