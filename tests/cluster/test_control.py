"""The commands that look at a running server and change it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hybrid.core.messages import control_messages as c
from hybrid.core.workers.ending import SAME_STOP
from hybrid.system.sockets.channel import Channel
from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"VERSION"})
"""


@pytest.fixture
def controlled(serve: Serve, tmp_path: Path) -> Callable[..., Server]:
    """Start a server whose control socket is at a place of the test's own."""

    def start(*args: str, **kwargs: object) -> Server:
        return serve(*args, "--control-socket", "control.sock", cwd=tmp_path, **kwargs)

    return start


@pytest.fixture
def hybrid(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command against that server."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hybrid", *args]
        env = {**os.environ, "HYBRID_CONTROL_SOCKET": str(tmp_path / "control.sock")}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=env, stdin=subprocess.DEVNULL
        )

    return run


Run = Callable[..., subprocess.CompletedProcess[str]]


def write_app(folder: Path, version: str) -> None:
    (folder / "versioned.py").write_text(APP.replace("VERSION", version))


def test_status_shows_every_worker_as_table_and_as_json(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "2", "--cpu-pool", "1")
    assert server.get("/hello")[0] == 200

    table, text = hybrid("status"), hybrid("status", "--json")
    status = json.loads(text.stdout)

    assert (table.returncode, text.returncode) == (0, 0)
    assert str(server.pid) in table.stdout
    assert table.stdout.count("ready") >= 3
    assert [w["slot"] for w in status["workers"]] == [1, 2]
    assert status["primary"]["phase"] == "ready"
    assert status["permits"]["in_use"] == 0
    assert [w["accepting"] for w in status["workers"]] == [True] * 2
    assert [len(w["pool"]["pids"]) for w in status["workers"]] == [1] * 2
    assert min(w["rss_bytes"] for w in status["workers"]) > 1e6


def test_a_permit_in_use_is_seen(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "1", "--cpu-limit", "2")
    job = server.in_background("GET", "/cpu/sleep?ms=3000&permit=1")  # a status takes its time
    wait_until(
        lambda: (
            json.loads(hybrid("status", "--json").stdout)["permits"]
            == {"limit": 2, "in_use": 1, "abandoned": 0}
        ),
        what="one permit is taken",
    )
    job.join()


def test_an_abandoned_job_is_seen(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "2", "--cpu-limit", "2")

    assert server.get("/cpu/sleep?ms=20000&permit=1&lane=thread&deadline=0.1")[0] == 504

    shown = wait_until(lambda: (t := hybrid("status").stdout).count("abandoned") == 2 and t)
    assert "1/2 (1 abandoned)" in shown
    assert "1 of 2 permits in use (1 of them by abandoned jobs)" in shown


def test_the_socket_is_private_and_gone_afterwards(controlled: Serve, tmp_path: Path) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "0")
    path = tmp_path / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert not path.exists()


def test_a_server_is_found_by_its_pid_file_without_any_address(
    serve: Serve, hybrid: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    pid_file = tmp_path / "hybrid.pid"
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--pid-file", str(pid_file))
    command = [sys.executable, "-m", "hybrid", "status", "--json"]

    found = [
        subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
        for more in ((), ("--pid-file", str(pid_file)))
    ]

    assert (tmp_path / "hybrid" / f"{server.pid}.sock").is_socket()
    assert stat.S_IMODE((tmp_path / "hybrid").stat().st_mode) == 0o700
    by_pid_file = json.loads(found[1].stdout)
    assert by_pid_file["primary"]["pid"] == server.pid
    # Another server of this user may run beside the suite; then it is asked which one is meant.
    assert found[0].returncode == 0 or "choose one" in found[0].stderr


def test_a_stale_pid_file_and_one_of_a_server_without_a_socket_are_told_apart(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    pid_file = tmp_path / "hybrid.pid"
    args = ("--io-workers", "1", "--cpu-pool", "0", "--no-control-socket")
    server = serve(*args, "--pid-file", str(pid_file))
    command = [sys.executable, "-m", "hybrid", "reload", "--pid-file", str(pid_file)]

    def words() -> str:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        return result.stderr

    assert f"process {server.pid}" in words()
    os.kill(server.pid, signal.SIGKILL)
    server.wait_exit()
    assert "is stale" in words()
    pid_file.write_text("nonsense")
    assert "is not a pid file" in words()


def test_without_a_server_a_command_says_so(hybrid: Run) -> None:
    result = hybrid("status")
    assert result.returncode == 1
    assert "no server answers" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_scale_takes_a_number_and_a_difference(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "2", "--cpu-pool", "0")
    for argument, wanted in (("3", 3), ("-1", 2), ("+1", 3), ("1", 1)):
        result = hybrid("scale", argument)
        assert result.returncode == 0, result.stderr
        assert f"{wanted} workers are ready" in result.stdout
        assert len(server.status()["workers"]) == wanted


@pytest.mark.parametrize(("argument", "code"), [("0", 1), ("-9", 1), ("999", 1), ("two", 2)])
def test_a_number_that_cannot_be_is_refused(
    controlled: Serve, hybrid: Run, argument: str, code: int
) -> None:
    controlled("--io-workers", "1", "--cpu-pool", "0")
    assert hybrid("scale", argument).returncode == code


def test_drain_replaces_one_slot_and_waits_for_its_requests(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "2", "--cpu-pool", "0")
    before = {w["slot"]: w["pid"] for w in server.workers()}

    assert hybrid("drain", "2").returncode == 0
    after = {w["slot"]: w["pid"] for w in server.workers()}

    assert after[1] == before[1]
    assert after[2] != before[2]
    assert hybrid("drain", "7").returncode == 1


def test_a_drained_worker_is_counted_as_drained(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "0")

    assert hybrid("drain", "1").returncode == 0

    counted = server.get("/metrics")[2].decode()
    assert 'hybrid_worker_exits_total{reason="drained"} 1\n' in counted
    assert 'hybrid_worker_exits_total{reason="recycled"} 0\n' in counted


def test_stop_returns_when_the_server_is_gone(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "1")
    waiting = server.in_background("GET", "/io/wait?ms=500")
    wait_until(lambda: server.workers()[0]["active"] == 2, what="it is in")

    result = hybrid("stop")

    assert (result.returncode, result.stdout.split()) == (0, ["stopping", "stopped"])
    assert not psutil.pid_exists(server.pid) or server.process.poll() == 0
    assert waiting.join().result is not None


def test_a_second_stop_waits_like_the_first(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "0")
    waiting = server.in_background("GET", "/io/wait?ms=2500")
    wait_until(lambda: server.workers()[0]["active"] == 2, what="it is in")

    server.signal(signal.SIGTERM)
    server.wait_for_log("stopping")
    asked = time.monotonic()
    wait_until(lambda: time.monotonic() - asked > 2 * SAME_STOP, what="no echo of the first one")
    result = hybrid("stop")

    assert (result.returncode, result.stdout.split()) == (0, ["stopping", "stopped"])
    answer = waiting.join().result
    assert answer is not None, waiting.error
    assert answer[0] == 200


def test_stop_now_does_not_wait(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "0")
    server.in_background("GET", "/io/wait?ms=60000")
    wait_until(lambda: server.workers()[0]["active"] == 2, what="it is in")
    assert hybrid("stop", "--now").returncode == 0
    assert server.wait_exit(5) == 0


def test_reload_brings_new_code_and_says_how_far_it_is(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    server = controlled("versioned:app", "--io-workers", "2", "--cpu-pool", "0")
    assert server.get("/")[2] == b"one"

    write_app(tmp_path, "two-")
    result = hybrid("reload")

    assert result.returncode == 0, result.stderr
    assert "1 of 2 workers are of generation 2" in result.stdout
    assert {server.get("/")[2] for _ in range(20)} == {b"two-"}


def test_a_reload_to_broken_code_fails_with_its_traceback_and_changes_nothing(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    server = controlled("versioned:app", "--io-workers", "2", "--cpu-pool", "0")
    (tmp_path / "versioned.py").write_text("import math\nmath.nothing()\n")

    result = hybrid("reload")

    assert result.returncode == 1
    assert "math.nothing()" in result.stderr
    assert {server.get("/")[2] for _ in range(20)} == {b"one"}
    write_app(tmp_path, "mended")
    assert hybrid("reload").returncode == 0
    assert {server.get("/")[2] for _ in range(20)} == {b"mended"}


def test_a_reload_to_code_that_never_gets_ready_fails_and_says_so(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    args = ("versioned:app", "--io-workers", "2", "--cpu-pool", "0", "--boot-timeout", "2s")
    server = controlled(*args)
    hangs = "import asyncio\n" + APP.replace("await receive()", "await asyncio.Event().wait()", 1)
    (tmp_path / "versioned.py").write_text(hangs)

    result = hybrid("reload")

    assert result.returncode == 1
    assert "not ready after 2 s (--boot-timeout)" in result.stderr
    assert {server.get("/")[2] for _ in range(20)} == {b"one"}
    wait_until(lambda: len(server.remember()) == 2, what="the late one is gone")


def test_a_reload_reads_the_configuration_again_and_refuses_an_invalid_one(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text("io-workers = 1\ncpu-pool = 0\n")
    server = controlled("-c", str(file))

    file.write_text("io-workers = 2\ncpu-pool = 0\nmax-body = 1000\nbacklog = 7\n")
    assert hybrid("reload").returncode == 0
    wait_until(lambda: len(server.workers()) == 2, what="two workers")
    assert server.request("POST", "/io/echo", b"x" * 2000)[0] == 413
    assert "cannot change backlog" in server.log

    before = server.workers()
    for broken in ("io-wrokers = 3\n", "io-workers = 'x'\n", "][\n"):
        file.write_text(broken)
        result = hybrid("reload")
        assert result.returncode == 1
        assert "nothing has changed" in result.stderr
    file.unlink()
    assert "nothing has changed" in hybrid("reload").stderr
    assert [w["pid"] for w in server.workers()] == [w["pid"] for w in before]


def test_an_aborted_reload_returns_to_the_configuration_before(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    file = tmp_path / "hybrid.toml"
    file.write_text("io-workers = 1\ncpu-pool = 0\n")
    server = controlled("versioned:app", "-c", str(file))
    (tmp_path / "versioned.py").write_text("raise SystemExit('no')\n")
    file.write_text("io-workers = 1\ncpu-pool = 0\nmax-body = 10\n")
    assert hybrid("reload").returncode == 1

    write_app(tmp_path, "again")
    os.kill(json.loads(hybrid("status", "--json").stdout)["workers"][0]["pid"], signal.SIGKILL)

    assert server.get("/")[2] == b"again"
    assert json.loads(hybrid("status", "--json").stdout)["workers"][0]["generation"] == 1


def test_top_shows_rates_of_the_last_interval(controlled: Serve, hybrid: Run) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "1")
    assert server.get("/hello")[0] == 200
    result = hybrid("top", "--count", "2", "--interval", "200ms")
    assert result.returncode == 0
    assert "req/s" in result.stdout
    assert "pool PSS MB" in result.stdout  # a pipe is as wide as the table


def test_a_directory_that_cannot_be_made_costs_one_warning(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("x" * 120)  # longer than a socket's name may be
    server = serve("--io-workers", "2", "--cpu-pool", "0", "--control-socket", str(path))
    assert server.log.count("no control socket") == 1
    assert server.get("/hello")[0] == 200


def test_garbage_idle_and_deaf_clients_do_not_harm(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    server = controlled("--io-workers", "1", "--cpu-pool", "0")
    primary = psutil.Process(server.pid)
    before = primary.num_fds()
    clients = []
    for _ in range(60):  # more than are kept
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "control.sock"))
        clients.append(client)
    clients[-1].sendall(b"\xff" * 2000)
    clients[-2].sendall(b"\0\0\0\x04null")
    deaf = Channel(clients[-3])
    for _ in range(2000):
        try:
            deaf.send(c.encode(c.StatusRequest()))
            deaf.flush()
        except OSError:
            break  # it was dropped

    assert hybrid("status").returncode == 0
    assert hybrid("reload").returncode == 0
    assert server.get("/hello")[0] == 200
    for client in clients:
        client.close()
    wait_until(lambda: primary.num_fds() == before, what="their descriptors are closed")


def test_events_tell_the_life_of_the_workers_in_order(
    controlled: Serve, hybrid: Run, tmp_path: Path
) -> None:
    controlled("--io-workers", "1", "--cpu-pool", "0")
    command = [sys.executable, "-m", "hybrid", "events", "--json", "--control-socket"]
    listener = subprocess.Popen(
        [*command, str(tmp_path / "control.sock")], stdout=subprocess.PIPE, text=True
    )
    text = subprocess.Popen(
        [*command[:4], *command[5:], str(tmp_path / "control.sock")],
        stdout=subprocess.PIPE,
        text=True,
    )
    for program in (listener, text):
        wait_until(lambda one=program: _is_connected(one.pid), what="it listens")

    assert hybrid("reload").returncode == 0
    assert hybrid("stop").returncode == 0
    told = [json.loads(line) for line in listener.communicate(timeout=20)[0].splitlines()]
    lines = text.communicate(timeout=20)[0]

    new = [event for event in told if event["slot"] and event["generation"] == 2]
    of_new = [event["kind"] for event in new if event["kind"] != "leader"]
    assert of_new == ["fork", "online", "listening", "ready", "drain", "exit"]
    assert [e["kind"] for e in told if not e["slot"]] == ["reload", "ready", "stop"]
    (exit_,) = [e for e in told if e["kind"] == "exit" and e["generation"] == 1]
    assert (exit_["code"], exit_["reason"]) == (0, "drained")
    assert "exit      slot=1 generation=1" in lines
    assert (listener.returncode, text.returncode) == (0, 0)


def _is_connected(pid: int) -> bool:
    return bool(psutil.Process(pid).net_connections("unix"))
