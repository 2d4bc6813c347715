"""Reloads, scalings and kills under load: short in the suite, long under `make soak`."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hybrid.cli.client import Client
from hybrid.core.messages import control_messages as c
from tests.cluster.conftest import Server, wait_until
from tests.cluster.load import Account, Kind, Load, Loss

Serve = Callable[..., Server]
logger = logging.getLogger("soak")
FULL = bool(os.environ.get("HYBRID_SOAK"))
LINGER = 1.0  # s; hybrid.config.HttpConfig.linger
AFTER = 5.0  # s after a kill within which its connections are seen to be gone
LONG = 3000 if FULL else 1200  # ms of the longest job
KINDS = [
    Kind("/hello"),
    Kind("/hello", keep_alive=True),
    Kind("/hello", keep_alive=True, think=0.5 * LINGER),
    Kind("/hello", keep_alive=True, think=2 * LINGER),
    Kind("/hello", keep_alive=True, think=2 * LINGER),
    Kind("/io/echo", b"x" * 1000),
    Kind("/io/echo", b"x" * 200_000, keep_alive=True, think=0.2),
    Kind("/io/echo", b"x" * 1000, keep_alive=True, think=2 * LINGER),
    Kind("/io/wait?ms=700", keep_alive=True),
    Kind("/cpu/sleep?ms=500&lane=process", think=0.2),
    Kind(f"/cpu/sleep?ms={LONG}&lane=thread", keep_alive=True),
    Kind("/cpu/primes?n=20000", keep_alive=True, think=0.2),
    Kind("/cpu/svd?n=50", keep_alive=True, think=0.2),
]


class Cluster:
    """A server, and its control socket."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server, self._path = server, path
        self.primary = psutil.Process(server.pid)

    def status(self) -> dict[str, Any]:
        client = Client(self._path)
        try:
            return client.status()
        finally:
            client.close()

    def ready(self) -> list[dict[str, Any]]:
        return [w for w in self.status()["workers"] if w["state"] == "ready"]

    def wish(self, request: c.ControlRequest, may_fail: bool = False) -> bool:
        """Ask; return whether it came to pass."""
        client = Client(self._path)
        last = {"answer": "none"}
        for last in client.ask(request):
            if last["answer"] in ("done", "failed"):
                break
        client.close()
        assert may_fail or last["answer"] == "done", last
        return last["answer"] == "done"

    def size(self) -> tuple[int, int]:
        """Return descriptors and processes; the same when the same is running."""
        return self.primary.num_fds(), len(self.primary.children())

    def rss(self) -> float:
        return float(self.primary.memory_info().rss / 1e6)


@pytest.fixture
def cluster(serve: Serve, tmp_path: Path) -> Callable[..., Cluster]:
    def start(*args: str) -> Cluster:
        path = tmp_path / "control.sock"
        return Cluster(serve(*args, "--control-socket", str(path)), path)

    return start


Start = Callable[..., Cluster]


def report(text: str, cluster: Cluster, account: Account, before: float) -> None:
    logger.info(
        "%s: %d answered, %d retried, %d lost; primary %d descriptors, %d children, "
        "RSS %.1f -> %.1f MB",
        text, account.answered, account.retried, len(account.lost), *cluster.size(),
        before, cluster.rss(),
    )  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["shared", "round-robin"])
def test_reloads_and_scalings_under_load_lose_no_request(cluster: Start, policy: str) -> None:
    reloads, scalings = (20, 50) if FULL else (2, 3)
    if policy != "shared" and not FULL:
        reloads, scalings = 1, 2
    one = cluster("--io-workers", "3", "--cpu-pool", "2", "--scheduling", policy)
    wait_until(lambda: one.size()[1] == 9, what="three workers, two pool processes each")
    size, rss = one.size(), one.rss()
    dice = random.Random(1)

    load = Load(one.server.port, KINDS)
    for _ in range(reloads):
        one.wish(c.ReloadRequest())
    for _ in range(scalings):
        one.wish(c.ScaleRequest(to=dice.randint(1, 5)))
    one.wish(c.ScaleRequest(to=3))
    account = load.stop()

    report(f"{policy}, {reloads} reloads, {scalings} scalings", one, account, rss)
    assert account.lost == []
    assert account.answered > 50 * reloads
    wait_until(lambda: one.size() == size, what=f"descriptors and children as before {size}")
    assert one.rss() < rss + 8


class Killer:
    """Kills workers, and remembers whose connections died with each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dice = random.Random(1)
        self.kills: list[tuple[float, set[int]]] = []  # monotonic s, the clients' ports

    def kill_one(self) -> None:
        """Send SIGKILL to a random worker that is ready.

        It is stopped first: what it has accepted by then is all that it ever will.
        """
        wait_until(lambda: len(self._cluster.ready()) >= 3, 60, "three workers are ready")
        victim = psutil.Process(self._dice.choice(self._cluster.ready())["pid"])
        try:
            victim.suspend()
            wait_until(lambda: victim.status() == psutil.STATUS_STOPPED, what="it has stopped")
            ports = {c.raddr.port for c in victim.net_connections("tcp") if c.raddr}
        except psutil.NoSuchProcess:
            return  # replaced a moment ago; another turn
        self.kills.append((time.monotonic(), ports))  # first: a client may see it at once
        victim.kill()
        wait_until(lambda: not psutil.pid_exists(victim.pid), what="reaped")

    def excuses(self, loss: Loss) -> bool:
        """Return whether the connection of a lost request had been accepted by a victim."""
        return any(loss.port in ports and 0 <= loss.at - at < AFTER for at, ports in self.kills)


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["shared", "round-robin"])
def test_kills_cost_only_what_the_dead_had_accepted_and_leak_nothing(
    cluster: Start, policy: str
) -> None:
    kills = 100 if FULL else 6 if policy == "shared" else 3
    one = cluster("--io-workers", "4", "--cpu-pool", "1", "--scheduling", policy)
    wait_until(lambda: one.size()[1] == 8, what="four workers, a pool process each")
    size, rss = one.size(), one.rss()
    killer = Killer(one)

    load = Load(one.server.port, KINDS)
    while len(killer.kills) < kills:
        killer.kill_one()
    account = load.stop()

    report(f"{policy}, {kills} kills", one, account, rss)
    assert [loss for loss in account.lost if not killer.excuses(loss)] == []
    assert account.answered > 20 * kills
    wait_until(lambda: len(one.ready()) == 4, 60, "whole again")
    wait_until(lambda: one.size() == size, what=f"descriptors and children as before {size}")
    assert one.rss() < rss + 8


@pytest.mark.soak
def test_kills_in_the_middle_of_reloads_and_scalings_cost_no_more(cluster: Start) -> None:
    rounds = 40 if FULL else 2
    one = cluster("--io-workers", "4", "--cpu-pool", "1")
    wait_until(lambda: one.size()[1] == 8, what="four workers, a pool process each")
    size, rss = one.size(), one.rss()
    killer, dice = Killer(one), random.Random(2)

    load = Load(one.server.port, KINDS)
    for _ in range(rounds):
        wishes = [
            threading.Thread(target=one.wish, args=(wish, True))
            for wish in (c.ReloadRequest(), c.ScaleRequest(to=dice.randint(3, 5)))
        ]
        for wish in wishes:
            wish.start()
        killer.kill_one()
        for wish in wishes:
            wish.join(120)
            assert not wish.is_alive(), "every wish has an outcome"
    wait_until(lambda: settles(one), 120, "a reload that nobody disturbs")
    account = load.stop()

    report(f"{rounds} kills during reloads and scalings", one, account, rss)
    assert [loss for loss in account.lost if not killer.excuses(loss)] == []
    wait_until(lambda: one.size() == size, 60, f"descriptors and children as before {size}")
    assert one.rss() < rss + 8


def settles(cluster: Cluster) -> bool:
    """Wish for four workers of a new generation; return whether that is so."""
    return cluster.wish(c.ScaleRequest(to=4), True) and cluster.wish(c.ReloadRequest(), True)


@pytest.mark.soak
def test_reloads_of_an_idle_cluster_leak_nothing(cluster: Start) -> None:
    reloads = 1000 if FULL else 20
    one = cluster("--io-workers", "2", "--cpu-pool", "0")
    for _ in range(5):
        one.wish(c.ReloadRequest())  # until the allocator has what it needs
    wait_until(lambda: one.size()[1] == 2, what="two workers")
    size, rss = one.size(), one.rss()

    for _ in range(reloads):
        one.wish(c.ReloadRequest())

    wait_until(lambda: one.size() == size, what=f"descriptors and children as before {size}")
    report(f"{reloads} idle reloads", one, Account(), rss)
    assert one.rss() < rss + 4
    assert one.status()["primary"]["generation"] == reloads + 6
