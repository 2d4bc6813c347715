"""Reloads, scalings and kills under load: short in the suite, long under `make soak`."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
from collections.abc import Callable

import psutil
import pytest

from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
ROUNDS = 20 if os.environ.get("HYBRID_SOAK") else 2


class Load:
    """Clients that ask again and again, each request on a fresh connection."""

    def __init__(self, server: Server, paths: tuple[str, ...]) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._stop = threading.Event()
        self._server = server
        self._threads = [threading.Thread(target=self._run, args=(p,), daemon=True) for p in paths]
        for thread in self._threads:
            thread.start()

    def _run(self, path: str) -> None:
        while not self._stop.is_set():
            try:
                status = self._server.get(path)[0]
            except (OSError, http.client.HTTPException) as ex:
                self.lost.append(f"{path}: {ex!r}")
                continue
            self.answered += 1
            if status != 200:
                self.lost.append(f"{path}: {status}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.soak
def test_reloads_and_scalings_under_load_lose_no_request(serve: Serve) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "2")
    load = Load(server, ("/hello", "/cpu/primes?n=2000", "/io/wait?ms=30", "/cpu/svd?n=50"))

    for round_ in range(ROUNDS):
        server.signal(signal.SIGHUP)
        server.wait_for_log(f"generation {round_ + 2} is ready")
        server.signal(signal.SIGTTIN)
        wait_until(lambda: len(server.workers()) == 3, what="three workers")
        server.signal(signal.SIGTTOU)
        wait_until(lambda: len(server.status()["workers"]) == 2, what="two workers")
    load.stop()

    assert load.lost == []
    assert load.answered > 10 * ROUNDS


@pytest.mark.soak
def test_kills_cost_only_what_the_dead_had_accepted_and_leak_nothing(serve: Serve) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "1")
    primary = psutil.Process(server.pid)
    before = primary.num_fds()
    dice = random.Random(1)

    for _ in range(3 * ROUNDS):
        victim = dice.choice(server.workers())["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda gone=victim: not psutil.pid_exists(gone), what="reaped")
        assert server.get("/hello")[0] == 200
        wait_until(lambda: len(server.workers()) == 2, 60, what="whole again")

    wait_until(lambda: primary.num_fds() == before, what="descriptors as at the start")
    wait_until(lambda: len(primary.children()) == 4, what="two workers, a pool process each")
