"""No descriptor is free: in the primary, in a worker, from the start or from now on."""

from __future__ import annotations

import http.client
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from hybrid.config import Config, CpuConfig, HttpConfig
from hybrid.core.messages import control_messages as c
from hybrid.primary.operator.control_socket import FRAME_LIMIT, ControlPort, ControlServer
from hybrid.primary.startup.room import fit_connections
from hybrid.system.sockets.channel import Channel
from tests.cluster.conftest import PATIENCE, Server, read_answer, wait_until

Serve = Callable[..., Server]


@contextmanager
def none_free(pid: int) -> Iterator[None]:
    """Let a process open nothing more."""
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    numbers = [int(fd) for fd in os.listdir(f"/proc/{pid}/fd")]  # one may be of this look
    used = {fd for fd in numbers if os.path.islink(f"/proc/{pid}/fd/{fd}")}
    lowest_free = next(fd for fd in range(len(used) + 1) if fd not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, limit[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


class Control:
    """A control server in this process, and a client that has just come."""

    def __init__(self, path: Path) -> None:
        self.selector = selectors.PollSelector()
        self.status: dict[str, Any] = {"workers": []}
        desk = ControlPort(None, None, None, lambda: self.status)  # type: ignore[arg-type]
        self.server = ControlServer(path, self.selector, desk)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(os.fspath(path))
        self.client = Channel(sock, 8 * FRAME_LIMIT)

    def turn(self) -> int:
        """Run one turn of the primary's loop; return how many descriptors were ready."""
        ready = self.selector.select(0)
        for key, _ in ready:
            key.data()
        self.server.update()
        return len(ready)

    def answers(self) -> list[bytes]:
        self.turn()
        return [frame.payload for frame in self.client.receive()]

    def close(self) -> None:
        self.client.close()
        self.server.close()
        self.selector.close()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    found = Control(tmp_path / "control")
    yield found
    found.close()


def test_a_control_client_that_cannot_be_accepted_does_not_keep_the_loop_busy(
    control: Control,
) -> None:
    with none_free(os.getpid()):
        assert control.turn() == 1
        assert control.turn() == 0  # nothing is ready, though the client waits
        assert control.server.next_timer() is not None
    control.client.send(c.encode(c.StatusRequest()))
    assert b"workers" in wait_until(control.answers)[0]
    assert control.server.next_timer() is None


def test_a_control_server_ends_also_while_it_accepts_nothing(tmp_path: Path) -> None:
    control = Control(tmp_path / "control")
    with none_free(os.getpid()):
        control.turn()
        control.close()


def test_an_answer_that_is_too_large_is_a_short_one_also_to_a_client_that_has_left(
    control: Control,
) -> None:
    control.status = {"text": "x" * FRAME_LIMIT}
    control.client.send(c.encode(c.StatusRequest()))
    assert b"over the limit" in wait_until(control.answers)[0]
    control.client.send(c.encode(c.StatusRequest()))
    control.client.sock.close()
    wait_until(lambda: not control.turn())


def test_a_primary_without_descriptors_serves_its_control_clients_later(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "control"
    server = serve("-w", "1", "--cpu-pool", "0", "--control-socket", str(path))
    command = [sys.executable, "-m", "hybrid", "status", "--control-socket", str(path)]
    with none_free(server.pid):
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        server.wait_for_log("control socket: not accepting for")
        assert server.get("/hello")[0] == 200
        assert client.poll() is None
    assert "ready" in client.communicate(timeout=20)[0]
    assert client.returncode == 0


@contextmanager
def starving(pid: int) -> Iterator[None]:
    """Let a process open nothing more, whatever it closes: 0, 1 and 2 stay in use."""
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def ask(connection: http.client.HTTPConnection, path: str) -> int:
    """Return the status of an answer on a connection that is already there."""
    assert connection.sock is not None
    connection.request("GET", path)
    return read_answer(connection)[0]


JOB = "/cpu/primes?n=1000&lane=process"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_worker_that_cannot_take_a_pool_process_lives_and_asks_again(
    serve: Serve, loop: str
) -> None:
    server = serve("-w", "1", "--cpu-pool", "1", "--loop", loop)
    worker = psutil.Process(server.workers()[0]["pid"])
    (member,) = [p.pid for p in server.remember() if p.pid != worker.pid]
    connection = server.connection()
    connection.connect()  # from here on no new one could be accepted
    assert ask(connection, JOB) == 200
    before = worker.num_fds()

    with starving(worker.pid):
        os.kill(member, signal.SIGKILL)
        server.wait_for_log("no pool process: no descriptor is free")
        assert ask(connection, "/hello") == 200
        wait_until(lambda: ask(connection, JOB) == 500, what="the job has a typed error")
        refused = worker.num_fds()

    wait_until(lambda: ask(connection, JOB) == 200, what="a process came when there was room")
    assert refused == before - 2  # the dead process's socket and pidfd, and nothing in their place
    assert worker.num_fds() == before
    assert server.log.count("it is asked for again") == 1
    connection.close()


def test_a_worker_that_cannot_take_the_listeners_finishes_its_requests(serve: Serve) -> None:
    server = serve("-w", "1", "--cpu-pool", "0")
    worker = server.workers()[0]["pid"]
    waiting = server.in_background("GET", "/io/wait?ms=1500")
    wait_until(lambda: server.workers()[0]["active"] == 2, what="it is in")
    with starving(worker):
        server.signal(signal.SIGTERM)
        answer = waiting.join().result
        assert answer is not None, waiting.error
        assert answer[0] == 200
        assert server.wait_exit() == 0
    assert "died" not in server.log


def soft_limit(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


def test_workers_may_have_more_descriptors_and_jobs_what_there_was_before(serve: Serve) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = serve("-w", "1", "--cpu-pool", "1", shell='ulimit -Sn 300; exec "$@"')
    worker = server.workers()[0]["pid"]
    (member,) = [p.pid for p in server.remember() if p.pid != worker]
    assert soft_limit(server.pid) == soft_limit(worker) == min(hard, 1 << 20)
    assert soft_limit(member) == 300
    assert server.get(JOB)[0] == 200


def test_a_crowd_leaves_descriptors_for_the_pool(serve: Serve) -> None:
    server = serve("-w", "1", "--cpu-pool", "1", shell='ulimit -n 250; exec "$@"')
    assert server.log.count("and not --limit-connections 10000") == 1
    worker = server.workers()[0]["pid"]
    (member,) = [p.pid for p in server.remember() if p.pid != worker]
    connection = server.connection()
    connection.connect()
    assert ask(connection, JOB) == 200
    with ExitStack() as crowd:
        for _ in range(300):
            address = ("127.0.0.1", server.port)
            crowd.enter_context(socket.create_connection(address, timeout=PATIENCE))
        most = int(server.wait_for_log(r"(\d+) connections per worker are possible")[1])
        crowded = lambda: psutil.Process(worker).num_fds() > most  # noqa: E731
        wait_until(crowded, what="as many as are accepted")

        os.kill(member, signal.SIGKILL)
        wait_until(lambda: ask(connection, JOB) == 200, what="another process came")
    connection.close()
    assert "no descriptor is free" not in server.log
    assert "died: " not in server.log.replace("pool process died", "")


def test_too_few_descriptors_to_start_with_are_exit_1_and_one_line() -> None:
    command = 'ulimit -n 24; exec "$0" -m hybrid serve --bind 127.0.0.1:0'
    result = subprocess.run(
        ["sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "too few descriptors to start with" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("wished", "limit", "inherited", "expected"),
    [
        (800, 1024, 10, 800),
        (10_000, 1024, 10, 1024 - 10 - 24 - 64 - 16),
        (10_000, 1024, 110, 1024 - 110 - 24 - 64 - 16),
        (0, 1024, 10, 1024 - 10 - 24 - 64 - 16),
        (10_000, 50, 10, 1),
    ],
)
def test_connections_leave_descriptors_for_everything_else(
    monkeypatch: pytest.MonkeyPatch, wished: int, limit: int, inherited: int, expected: int
) -> None:
    monkeypatch.setattr("hybrid.primary.startup.room.descriptor_limit", lambda: limit)
    config = Config(http=HttpConfig(limit_connections=wished), cpu=CpuConfig(slots=4))
    assert fit_connections(config, inherited).http.limit_connections == expected
