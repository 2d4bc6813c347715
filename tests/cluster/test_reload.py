"""A reload during which something else happens, with real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hybrid.cli.client import Client
from tests.cluster.conftest import Server, wait_until
from tests.cluster.load import Kind, Load, Loss

Serve = Callable[..., Server]
# Slow to start, so that there is a "during".
APP = """
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await asyncio.sleep(0.5)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


class Reloading:
    """A server of two workers in the middle of its first reload, under load."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.client = Client(path)
        self.load = Load(server.port, [Kind("/"), Kind("/", keep_alive=True, think=0.1)])
        server.signal(signal.SIGHUP)
        wait_until(lambda: self.workers("starting"), what="the first new worker starts")

    def workers(self, state: str) -> list[dict[str, Any]]:
        return [w for w in self.client.status()["workers"] if w["state"] == state]

    def generations(self) -> list[int]:
        workers = self.client.status()["workers"]
        settled = all(w["state"] == "ready" for w in workers)
        return [w["generation"] for w in workers] if settled else []

    def lost(self) -> list[Loss]:
        return self.load.stop().lost


@pytest.fixture
def reloading(serve: Serve, tmp_path: Path) -> Iterator[Reloading]:
    (tmp_path / "slow.py").write_text(APP)
    path = tmp_path / "control.sock"
    args = ("slow:app", "-w", "2", "--cpu-pool", "0", "--control-socket", str(path))
    made = Reloading(serve(*args, cwd=tmp_path), path)
    yield made
    made.load.stop()
    made.client.close()


def test_term_stops_everything_and_finishes_what_was_asked(reloading: Reloading) -> None:
    account = reloading.load.stop()
    reloading.server.signal(signal.SIGTERM)
    assert reloading.server.wait_exit() == 0
    assert account.lost == []
    reloading.server.assert_gone()


def test_a_second_hup_starts_over(reloading: Reloading) -> None:
    reloading.server.signal(signal.SIGHUP)
    wait_until(lambda: reloading.generations() == [3, 3], what="both are of generation 3")
    assert reloading.lost() == []


def test_ttin_adds_a_worker_of_the_new_generation(reloading: Reloading) -> None:
    reloading.server.signal(signal.SIGTTIN)
    wait_until(lambda: reloading.generations() == [2, 2, 2], what="three of generation 2")
    assert reloading.lost() == []


def test_ttou_leaves_one_worker_of_the_new_generation(reloading: Reloading) -> None:
    reloading.server.signal(signal.SIGTTOU)
    wait_until(lambda: reloading.generations() == [2], what="one of generation 2")
    assert reloading.lost() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_death_of_an_old_sibling_does_not_end_the_reload(
    reloading: Reloading, number: signal.Signals
) -> None:
    victim = next(w for w in reloading.workers("ready") if w["slot"] == 2)
    os.kill(victim["pid"], number)
    wait_until(lambda: reloading.generations() == [2, 2], what="both are of generation 2")


def test_the_death_of_the_new_worker_aborts_it(reloading: Reloading) -> None:
    (new,) = reloading.workers("starting")
    os.kill(new["pid"], signal.SIGKILL)
    reloading.server.wait_for_log("reload to generation 2 aborted")
    wait_until(lambda: reloading.generations() == [1, 1], what="the old ones stay")
    assert reloading.lost() == []


def test_a_stop_that_reaches_the_whole_group(reloading: Reloading) -> None:
    account = reloading.load.stop()
    os.killpg(reloading.server.pid, signal.SIGTERM)
    assert reloading.server.wait_exit() == 0
    assert account.lost == []
    reloading.server.assert_gone()


def test_the_death_of_a_new_worker_that_was_ready_does_not_end_the_reload(
    reloading: Reloading,
) -> None:
    new = wait_until(lambda: [w for w in reloading.workers("ready") if w["generation"] == 2])
    os.kill(new[0]["pid"], signal.SIGKILL)
    wait_until(lambda: reloading.generations() == [2, 2], what="both are of generation 2")


def test_the_death_of_the_primary_ends_everybody(reloading: Reloading) -> None:
    reloading.load.stop()
    reloading.server.remember()
    reloading.server.signal(signal.SIGKILL)
    reloading.server.wait_exit()
    reloading.server.assert_gone()


@pytest.mark.parametrize("surge", [1, 3])
def test_so_many_are_replaced_at_once_as_max_surge_says(
    serve: Serve, tmp_path: Path, surge: int
) -> None:
    (tmp_path / "slow.py").write_text(APP)
    path = tmp_path / "control.sock"
    args = ("slow:app", "-w", "3", "--cpu-pool", "0", "--control-socket", str(path))
    server = serve(*args, "--max-surge", str(surge), cwd=tmp_path)
    client = Client(path)
    most = starting = 0

    server.signal(signal.SIGHUP)
    while "generation 2 is ready" not in server.log:
        states = [w["state"] for w in client.status()["workers"]]
        most, starting = max(most, len(states)), max(starting, states.count("starting"))
        assert states.count("ready") >= 3
    client.close()

    assert (most, starting) == (3 + surge, surge)
