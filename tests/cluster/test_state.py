"""Shared state under the real server: what workers share, and what happens without the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hybrid.system.sockets.runtime_directory import runtime_directories
from tests.cluster.conftest import Server, free_port, wait_until

Serve = Callable[..., Server]
ROOT = Path(__file__).parent.parent.parent


def count(server: Server) -> tuple[int, int]:
    """Return the shared counter and the slot of the worker that answered."""
    status, _, body = server.get("/state/counter")
    assert status == 200, body
    answer = json.loads(body)
    return answer["counter"], answer["worker"]


def count_in_both(server: Server) -> list[int]:
    """Count until both workers have; return all answers."""
    numbers, slots = [], set()
    while len(slots) < 2:
        number, slot = count(server)
        numbers.append(number)
        slots.add(slot)
    return numbers


def embedded_files(primary: int) -> list[Path]:
    return [path for each in runtime_directories() for path in each.glob(f"{primary}.state*")]


def test_workers_count_together_over_a_death_and_a_reload(serve: Serve) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "0", "--scheduling", "round-robin")
    numbers = count_in_both(server)
    victim = server.workers()[0]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(
        lambda: len(server.workers()) == 2 and victim["pid"] not in pids(server), what="refilled"
    )
    numbers += count_in_both(server)
    before = pids(server)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not before & pids(server) and len(pids(server)) == 2, what="reloaded")
    numbers += count_in_both(server)
    assert numbers == list(range(1, len(numbers) + 1))
    assert embedded_files(server.pid)
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert not embedded_files(server.pid)


def pids(server: Server) -> set[int]:
    return {worker["pid"] for worker in server.workers()}


def test_a_file_outlives_the_server(serve: Serve, tmp_path: Path) -> None:
    flags = ("--io-workers", "1", "--cpu-pool", "0", "--state", f"sqlite:{tmp_path}/kept.db")
    first = serve(*flags)
    assert [count(first)[0] for _ in range(3)] == [1, 2, 3]
    first.signal(signal.SIGTERM)
    assert first.wait_exit() == 0
    assert count(serve(*flags))[0] == 4
    assert (tmp_path / "kept.db").stat().st_mode & 0o077 == 0


def test_a_store_that_is_away_costs_its_requests_a_503_and_nothing_else(
    serve: Serve, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    server = serve(
        "--io-workers", "1", "--cpu-pool", "0", "--state", f"sqlite:{folder}/state.db"
    )  # fmt: skip
    status, headers, body = server.get("/state/counter")
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert str(folder) not in body.decode()
    assert server.get("/hello")[0] == 200
    assert server.get("/readyz")[0] == 200
    server.wait_for_log("shared state at sqlite:.*is not available")
    row = wait_until(lambda: [w for w in server.workers() if w["state_store"]["away"]])[0]
    assert row["state_store"]["failures"] >= 1
    assert b"hybrid_state_away 1" in server.get("/metrics")[2]
    folder.mkdir()
    wait_until(lambda: server.get("/state/counter")[0] == 200, what="the store is used again")
    server.wait_for_log("shared state answers again")


def test_readiness_follows_a_store_that_is_required(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    server = serve(
        "--io-workers", "1", "--cpu-pool", "0", "--state-required",
        "--state", f"sqlite:{folder}/state.db",
    )  # fmt: skip
    assert server.get("/readyz")[0] == 503
    assert json.loads(server.get("/readyz")[2])["status"] == "shared state is away"
    assert server.get("/livez")[0] == 200
    folder.mkdir()
    wait_until(lambda: server.get("/readyz")[0] == 200, what="ready without any traffic")


@pytest.mark.parametrize("way", ["environment", "file"])
def test_a_password_is_shown_nowhere(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    url = f"redis://shop:hunter2@127.0.0.1:{free_port()}/0"
    file = tmp_path / "hybrid.toml"
    file.write_text(f'state = "{url}"\n')
    env = {**os.environ, "HYBRID_STATE": url} if way == "environment" else dict(os.environ)
    more = ["-c", str(file)] if way == "file" else []
    command = [sys.executable, "-m", "hybrid", "serve", "--print-config", *more]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert "redis://shop:***@127.0.0.1" in shown.stdout
    assert "hunter2" not in shown.stdout + shown.stderr
    if way == "environment":
        return
    server = serve("--io-workers", "1", "--cpu-pool", "0", "-c", str(file), "--log-level", "debug")
    assert server.get("/state/counter")[0] == 503
    said = server.log + server.get("/status")[2].decode() + server.get("/")[2].decode()
    for process in [psutil.Process(server.pid), *server.remember()]:
        said += " ".join(process.cmdline())
    assert "hunter2" not in said
    assert "redis://shop:***@" in said


def test_a_password_on_the_command_line_is_refused(serve: Serve) -> None:
    server = serve("--state", "postgresql://shop:hunter2@127.0.0.1/shop", ready=False)
    assert server.wait_exit() == 2
    assert "HYBRID_STATE" in server.log
    assert "hunter2" not in server.log


@pytest.mark.parametrize("url", ["mysql://host", "redis:", "nonsense", "redis://host:port"])
def test_what_is_no_store_is_refused_at_the_start(serve: Serve, url: str) -> None:
    server = serve("--state", url, ready=False)
    assert server.wait_exit() == 2


def test_what_the_store_cannot_do_is_missed_at_the_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "wants.py").write_text(
        "import hybrid\nstate = hybrid.state('x', requires=['any_host'])\nasync def app(*a): ...\n"
    )
    server = serve("wants:app", "--io-workers", "1", "--cpu-pool", "0", cwd=tmp_path, ready=False)
    assert server.wait_exit() == 4
    assert "StateUnsupported: SQLite cannot do this: any_host" in server.log.replace(
        "hybrid.errors.", ""
    )


def test_a_session_survives_the_death_of_its_worker_a_reload_and_another_worker(
    serve: Serve,
) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "0", "--scheduling", "round-robin")
    status, headers, _ = server.request("POST", "/session/login?name=Ann")
    assert status == 200
    cookie = headers["set-cookie"].partition(";")[0]
    slots: set[int] = set()
    visits = 0

    def visit_both() -> None:
        nonlocal visits
        slots.clear()
        while len(slots) < 2:
            status, _, body = server.get("/session/me", Cookie=cookie)
            assert status == 200, body
            visits += 1
            answer = json.loads(body)
            assert (answer["name"], answer["visits"]) == ("Ann", visits)
            slots.add(answer["worker"])

    visit_both()
    victim = server.workers()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids(server) - {victim}) == 2, what="refilled")
    visit_both()
    before = pids(server)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not before & pids(server) and len(pids(server)) == 2, what="reloaded")
    visit_both()
    assert server.request("POST", "/session/logout", Cookie=cookie)[0] == 204
    assert server.get("/session/me", Cookie=cookie)[0] == 401
