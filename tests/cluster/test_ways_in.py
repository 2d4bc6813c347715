"""TLS, a Unix socket and an inherited descriptor, through the real command."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cluster.conftest import PATIENCE, Server, wait_until
from tests.programs import need

APP = "workloads.app:app"
Serve = Callable[..., Server]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    need("openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cert, key


def hello(url: str, **transport: object) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(**transport), timeout=PATIENCE) as client:  # type: ignore[arg-type]
        return client.get(f"{url}/hello")


def port_of(server: Server) -> int:
    return int(server.wait_for_log(r"listening on https://127.0.0.1:(\d+)")[1])


def test_tls_and_a_unix_socket_beside_it(
    serve: Serve, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    path = tmp_path / "socket"
    unix = ("--bind", f"unix:{path}", "--unix-mode", "600")
    tls = ("--bind", "127.0.0.1:0", "--certfile", str(cert), "--keyfile", str(key))
    quick = ("--io-workers", "1", "--cpu-pool", "0", "--header-timeout", "1")
    first = serve(APP, *tls, *unix, *quick)

    trust = ssl.create_default_context(cafile=str(cert))
    assert hello(f"https://127.0.0.1:{port_of(first)}", verify=trust).status_code == 200
    assert hello("http://localhost", uds=str(path)).status_code == 200
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.create_connection(("127.0.0.1", port_of(first)), timeout=PATIENCE) as silent:
        assert silent.recv(1) == b""  # who does not shake hands in time is let go

    first.signal(signal.SIGKILL)  # leaves its socket behind
    first.wait_exit()
    first.assert_gone()
    assert path.exists()
    second = serve(APP, *tls, *unix, *quick)
    assert hello("http://localhost", uds=str(path)).status_code == 200
    second.signal(signal.SIGTERM)
    assert second.wait_exit() == 0
    assert not path.exists()


def test_an_inherited_descriptor_is_served_and_its_backlog_kept() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=300) as listener:
        number = listener.fileno()
        command = [sys.executable, "-m", "hybrid", "serve", APP, "--bind", f"fd://{number}"]
        command += ["--io-workers", "1", "--cpu-pool", "0"]
        process = subprocess.Popen(
            command,
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = listener.getsockname()[1]
            # The kernel accepts for the server that is still starting: nobody is refused.
            assert hello(f"http://127.0.0.1:{port}").status_code == 200
            assert _backlog(port) in (300, None)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        wait_until(lambda: not _group_is_alive(process.pid), what="the group is gone")


def test_standard_input_may_be_the_listener_as_inetd_passes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "hybrid", "serve", APP, "--bind", "fd://0"]
        process = subprocess.Popen(
            [*command, "--io-workers", "1", "--cpu-pool", "1"],
            stdin=listener,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert hello(url).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, log
        wait_until(lambda: not _group_is_alive(process.pid), what="the group is gone")


def _backlog(port: int) -> int | None:
    """Return the length of the accept queue that the kernel allows; None: there is no `ss`."""
    if shutil.which("ss") is None:
        return None
    shown = subprocess.run(
        ["ss", "-Hlnt", f"sport = :{port}"], capture_output=True, text=True, check=True, timeout=20
    )
    return int(shown.stdout.split()[2])


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
