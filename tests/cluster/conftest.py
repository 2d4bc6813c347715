"""The real ``hybrid serve`` in a subprocess, on port 0, in a process group of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent
TALKING = "tests.cluster.talking:app"
SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 20.0  # s; a test that waits longer has failed


def wait_until(condition: Callable[[], Any], deadline: float = PATIENCE, what: str = "") -> Any:
    """Return the first true value of `condition`; fail after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline:g} s: {what or condition}"
        threading.Event().wait(0.01)


class Server:
    """A running server and every process it ever had."""

    def __init__(self, args: tuple[str, ...], cwd: Path | None = None, shell: str = "") -> None:
        command = [sys.executable, "-m", "hybrid", "serve", *args, "--no-access-log"]
        if shell:  # words around the command, such as: exec "$@" 2>&-
            command = ["sh", "-c", shell, "sh", *command]
        if not any(a.startswith(("--bind", "-b")) for a in args):
            command += ["--bind", "127.0.0.1:0"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("HYBRID_")}
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=cwd,
            env=env,
        )
        self.pid = self.process.pid
        self.lines: list[str] = []
        self._seen: dict[int, psutil.Process] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for_log(self, pattern: str, deadline: float = PATIENCE) -> re.Match[str]:
        return wait_until(
            lambda: re.search(pattern, self.log), deadline, f"{pattern} in\n{self.log}"
        )

    def wait_ready(self) -> Server:
        wait_until(
            lambda: "listening on" in self.log or self.process.poll() is not None,
            what=f"ready\n{self.log}",
        )
        assert "listening on" in self.log, self.log
        self.remember()
        return self

    @property
    def port(self) -> int:
        found = re.search(r"listening on http://[\d.]+:(\d+)", self.log)
        assert found, self.log
        return int(found[1])

    def remember(self) -> list[psutil.Process]:
        """Note every process of the tree; `assert_gone` looks for them later."""
        try:
            tree = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        for process in tree:
            self._seen[process.pid] = process
        return tree

    def connection(self, timeout: float = PATIENCE) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self.connection()
        try:
            named = {k.replace("_", "-"): v for k, v in headers.items()}
            connection.request(method, path, body, named)
            return read_answer(connection)
        except (OSError, http.client.HTTPException) as ex:
            ex.add_note(f"exit code {self.process.poll()}, log of the server:\n{self.log}")
            raise
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.request("GET", path, **headers)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.get("/status")[2])
        return answer

    def workers(self, state: str = "ready") -> list[dict[str, Any]]:
        return [w for w in self.status()["workers"] if w["state"] == state]

    def in_background(self, method: str, path: str) -> Background:
        return Background(self, method, path)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait_exit(self, deadline: float = PATIENCE) -> int:
        code = self.process.wait(deadline)
        self._reader.join(deadline)
        return code

    def assert_gone(self, deadline: float = 2.0) -> None:
        wait_until(
            lambda: not [p for p in self._seen.values() if _alive(p)],
            deadline,
            f"left behind: {[p for p in self._seen.values() if _alive(p)]}",
        )

    def end(self) -> None:
        self.remember()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.assert_gone()


class Background:
    """A request that has been sent, and whose answer somebody waits for in a thread.

    Sent in full when the object exists: a stop that comes next must answer it.
    """

    def __init__(self, server: Server, method: str, path: str) -> None:
        self.result: tuple[int, dict[str, str], bytes] | None = None
        self.error: Exception | None = None
        connection = server.connection()
        connection.request(method, path)

        def run() -> None:
            try:
                self.result = read_answer(connection)
            except (OSError, http.client.HTTPException) as ex:
                self.error = ex
            finally:
                connection.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def join(self, deadline: float = PATIENCE) -> Background:
        self._thread.join(deadline)
        assert not self._thread.is_alive()
        return self


def read_answer(
    connection: http.client.HTTPConnection,
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers by lower-case name, and body."""
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def refuses(server: Server) -> bool:
    """Return whether it accepts no more connections."""
    try:
        socket.create_connection(("127.0.0.1", server.port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; afterwards none of their processes is left."""
    servers: list[Server] = []

    def start(*args: str, ready: bool = True, cwd: Path | None = None, shell: str = "") -> Server:
        server = Server(args, cwd, shell)
        servers.append(server)
        return server.wait_ready() if ready else server

    yield start
    for server in servers:
        server.end()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Script(Server):
    """A running script; `lines` are what its primary and its workers print."""

    def __init__(self, path: Path, *args: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HYBRID_")}
        self.process = subprocess.Popen(
            [sys.executable, str(path), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.process.stderr = self.process.stdout  # where `Server` reads
        self.pid = self.process.pid
        self.lines: list[str] = []
        self._seen: dict[int, psutil.Process] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    known_port = 0  # where the script does not say it

    @property
    def port(self) -> int:
        return self.known_port or int(self.wait_for_log(r"http://127\.0\.0\.1:(\d+)")[1])

    def said(self, pattern: str) -> list[re.Match[str]]:
        return [found for line in list(self.lines) if (found := re.fullmatch(pattern, line))]


Run = Callable[..., Script]


@pytest.fixture
def run() -> Iterator[Run]:
    """Run scripts (a name in `SCRIPTS`, or a path; arguments); none of their processes stays."""
    scripts: list[Script] = []

    def start(path: str | Path, *args: str) -> Script:
        scripts.append(Script(SCRIPTS / path, *args))
        return scripts[-1]

    yield start
    for script in scripts:
        script.end()


class Line:
    """A kept-alive connection to the worker of one slot."""

    def __init__(self, server: Server, slot: int) -> None:
        self.connection = wait_until(lambda: self._try(server, slot), what=f"slot {slot}")

    def _try(self, server: Server, slot: int) -> http.client.HTTPConnection | None:
        connection = server.connection()
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/received")
            if json.loads(connection.getresponse().read())["slot"] == slot:
                return connection
        connection.close()
        return None

    def talk(self, call: str, to: Any = None, body: Any = None, **more: Any) -> Any:
        wish = {"call": call, "to": to, "body": body, **more}
        self.connection.request("POST", "/talk", json.dumps(wish))
        return json.loads(self.connection.getresponse().read())

    def state(self) -> dict[str, Any]:
        self.connection.request("GET", "/received")
        answer: dict[str, Any] = json.loads(self.connection.getresponse().read())
        return answer

    def received(self) -> list[Any]:
        return list(self.state()["received"])


Lines = Callable[..., tuple[Server, list[Line]]]


@pytest.fixture
def lines(serve: Callable[..., Server]) -> Iterator[Lines]:
    opened: list[Line] = []

    def begin(workers: int = 3, *args: str) -> tuple[Server, list[Line]]:
        server = serve(
            TALKING, "--io-workers", str(workers), "--cpu-pool", "0",
            "--scheduling", "round-robin", *args, cwd=ROOT,
        )  # fmt: skip
        opened.extend(Line(server, slot) for slot in range(1, workers + 1))
        return server, opened

    yield begin
    for line in opened:
        line.connection.close()


def pid_of(line: Line) -> int:
    peer = line.connection.sock.getsockname()[1]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            for each in process.net_connections(kind="tcp"):
                if each.raddr and each.raddr.port == peer and process.pid != os.getpid():
                    return process.pid
    raise AssertionError("nobody has that connection")
