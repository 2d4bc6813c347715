"""Draining, stopping, reloading, scaling; also when the signal reaches the whole group."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from hybrid.core.workers.ending import SAME_STOP
from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
SMALL = ("--io-workers", "2", "--cpu-pool", "2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_requests_and_their_jobs(serve: Serve, number: signal.Signals) -> None:
    server = serve(*SMALL)
    waiting = server.in_background("GET", "/io/wait?ms=700")
    computing = server.in_background("GET", "/cpu/sleep?ms=700&lane=process")
    wait_until(lambda: sum(w["active"] for w in server.workers()) >= 3, what="both are in")

    server.signal(number)

    assert server.wait_exit() == 0
    for request in (waiting, computing):
        assert request.join().result is not None, request.error
        assert request.result is not None
        assert request.result[0] == 200
        assert request.result[1]["connection"] == "close"
    server.assert_gone()


def test_a_stop_that_reaches_the_whole_group_drains_too(serve: Serve) -> None:
    server = serve(*SMALL)
    waiting = server.in_background("GET", "/cpu/sleep?ms=700&lane=process")
    wait_until(lambda: sum(w["pool"]["busy"] for w in server.workers()) == 1, what="it runs")

    os.killpg(server.pid, signal.SIGTERM)

    assert server.wait_exit() == 0
    assert waiting.join().result is not None, waiting.error
    server.assert_gone()


def test_a_second_signal_stops_at_once(serve: Serve) -> None:
    server = serve(*SMALL)
    waiting = server.in_background("GET", "/io/wait?ms=30000")
    wait_until(lambda: sum(w["active"] for w in server.workers()) >= 2, what="it is in")

    server.signal(signal.SIGINT)
    server.wait_for_log("stopping:")
    asked = time.monotonic()
    wait_until(lambda: time.monotonic() - asked > 2 * SAME_STOP, what="a second wish, not an echo")
    server.signal(signal.SIGINT)

    assert server.wait_exit(5) == 0
    assert waiting.join().error is not None
    server.assert_gone()


def test_quit_stops_at_once(serve: Serve) -> None:
    server = serve(*SMALL)
    server.in_background("GET", "/io/wait?ms=30000")
    server.signal(signal.SIGQUIT)
    assert server.wait_exit(5) == 0
    server.assert_gone()


def test_what_is_left_at_the_grace_limit_is_cut(serve: Serve) -> None:
    server = serve(*SMALL, "--graceful-timeout", "0.5")
    waiting = server.in_background("GET", "/io/wait?ms=30000")
    wait_until(lambda: sum(w["active"] for w in server.workers()) >= 2, what="it is in")

    server.signal(signal.SIGTERM)

    assert server.wait_exit(10) == 0
    assert waiting.join().error is not None
    assert "cut" in server.log


def test_hup_replaces_every_worker_and_loses_no_request(serve: Serve) -> None:
    server = serve(*SMALL)
    before = {w["pid"] for w in server.workers()}

    server.signal(signal.SIGHUP)
    answers = []
    while "generation 2 is ready" not in server.log:
        answers.append(server.get("/hello")[0])

    assert set(answers) == {200}
    wait_until(lambda: len(server.status()["workers"]) == 2, what="the elders are gone")
    after = {w["pid"] for w in server.workers()}
    assert len(after) == 2
    assert not before & after
    assert {w["slot"] for w in server.workers()} == {1, 2}


def test_hup_to_the_whole_group_is_a_reload_not_an_outage(serve: Serve) -> None:
    server = serve(*SMALL)
    os.killpg(server.pid, signal.SIGHUP)
    server.wait_for_log("generation 2 is ready")
    assert server.get("/hello")[0] == 200


def test_ttin_and_ttou_scale_by_one(serve: Serve) -> None:
    server = serve(*SMALL)
    server.signal(signal.SIGTTIN)
    wait_until(lambda: len(server.workers()) == 3, what="three workers")
    server.signal(signal.SIGTTOU)
    wait_until(lambda: len(server.status()["workers"]) == 2, what="two workers")
    assert server.get("/hello")[0] == 200


def test_a_term_to_one_worker_replaces_it_first(serve: Serve) -> None:
    server = serve(*SMALL)
    victim = server.workers()[0]
    os.kill(victim["pid"], signal.SIGTERM)
    wait_until(
        lambda: victim["pid"] not in {w["pid"] for w in server.status()["workers"]},
        what="it is gone",
    )
    assert len(server.workers()) == 2
    assert "will be replaced: SIGTERM" in server.log


def test_connections_in_the_backlog_are_answered_at_a_stop(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--chaos")
    block = server.in_background("POST", "/ops/block?ms=1000")
    wait_until(lambda: server.lines and _loop_is_blocked(server), what="the loop is blocked")
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for client in clients:
        client.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")

    server.signal(signal.SIGTERM)

    for client in clients:
        client.settimeout(10)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        client.close()
    assert block.join().result is not None
    assert server.wait_exit() == 0


def _loop_is_blocked(server: Server) -> bool:
    with socket.create_connection(("127.0.0.1", server.port)) as probe:
        probe.settimeout(0.2)
        probe.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        try:
            return not probe.recv(1)
        except TimeoutError:
            return True


def test_while_no_worker_lives_connections_wait(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0")
    for _ in range(2):  # the second death is a young one: the slot waits before it is filled
        os.kill(server.workers()[0]["pid"], signal.SIGKILL)
        status, _, body = server.get("/hello")
        assert (status, body[:5]) == (200, b"Hello")
