"""Large arrays through a real server: in, across the process boundary, and out."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from tests.cluster.conftest import Server, wait_until
from workloads.kernels.hillshade import hillshade

Serve = Callable[..., Server]
NPY = "application/x-npy"


def shared_names() -> set[str]:
    """Return what lies in /dev/shm, without the semaphores of other programs' pools."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.mp-")}


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("lane", ["thread", "process"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_large_array_goes_in_and_comes_out_whole(serve: Serve, lane: str, loop: str) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "2", "--loop", loop)
    hills = np.random.default_rng(8).normal(500, 90, (1500, 1000))
    expected = hillshade(hills, exaggeration=2.0)

    for _ in range(3):  # blocks are used again
        status, headers, body = server.request(
            "POST", f"/cpu/hillshade?lane={lane}", npy(hills), Content_Type=NPY, Accept=NPY
        )
        assert status == 200, body
        assert int(headers["content-length"]) == len(body)
        np.testing.assert_array_equal(np.load(io.BytesIO(body)), expected)


def test_a_slow_reader_of_a_large_answer_gets_the_right_bytes(serve: Serve) -> None:
    """While one client reads slowly, others use and free blocks of the same size."""
    server = serve("--io-workers", "1", "--cpu-pool", "2", "--cpu-lane", "process")
    first = np.random.default_rng(1).normal(500, 90, (1500, 1000))
    slow = server.connection()
    slow.request("POST", "/cpu/hillshade", npy(first), {"Content-Type": NPY, "Accept": NPY})
    answer = slow.getresponse()
    began = answer.read(1000)
    for seed in range(4):
        other = np.random.default_rng(seed + 2).normal(500, 90, (1500, 1000))
        body = server.request("POST", "/cpu/hillshade", npy(other), Content_Type=NPY, Accept=NPY)[2]
        np.testing.assert_array_equal(np.load(io.BytesIO(body)), hillshade(other, exaggeration=2.0))
    whole = began + answer.read()
    slow.close()
    np.testing.assert_array_equal(np.load(io.BytesIO(whole)), hillshade(first, exaggeration=2.0))


def test_memory_of_arrays_returns_to_the_system(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--cpu-lane", "process")
    hills = npy(np.random.default_rng(8).normal(500, 90, (2000, 1000)))

    def shared_pages() -> int:
        tree = [p for p in server.remember() if p.is_running()]
        return max(p.memory_info().shared for p in tree)

    for _ in range(3):
        server.request("POST", "/cpu/hillshade", hills, Content_Type=NPY, Accept=NPY)
    held = shared_pages()
    wait_until(lambda: shared_pages() < held - 15_000_000, what="16 MB given back when idle")


@pytest.mark.parametrize("who", ["primary", "worker", "pool process"])
def test_a_kill_in_the_middle_of_large_jobs_leaves_nothing(serve: Serve, who: str) -> None:
    before = shared_names()
    server = serve("--io-workers", "2", "--cpu-pool", "2", "--cpu-lane", "process")
    hills = npy(np.random.default_rng(8).normal(500, 90, (2000, 1000)))
    pending = []
    for _ in range(4):
        connection = server.connection()
        connection.request("POST", "/cpu/hillshade", hills, {"Content-Type": NPY, "Accept": NPY})
        pending.append(connection)
    tree = server.remember()
    worker = server.workers()[0]["pid"] if who == "worker" else 0
    workers = {w["pid"] for w in server.workers()}
    victims = {
        "primary": [server.pid],
        "worker": [worker],
        "pool process": [p.pid for p in tree if p.pid not in workers],
    }[who]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    for connection in pending:
        connection.close()
    if who == "primary":
        server.wait_exit()
        server.assert_gone()
    else:
        wait_until(
            lambda: (
                server.request("POST", "/cpu/hillshade", hills, Content_Type=NPY, Accept=NPY)[0]
                == 200
            )
        )
    assert shared_names() <= before


def test_progress_reaches_the_client_while_the_job_runs(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1")
    connection = server.connection()
    connection.request("GET", "/cpu/sleep?ms=1500&stream=1&lane=process")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"

    assert answer.readline() == b"event: progress\n"
    assert json.loads(answer.readline().partition(b": ")[2])["fraction"] < 0.9
    assert server.status()["workers"][0]["pool"]["busy"] <= 1

    rest = answer.read()
    assert b"event: result\n" in rest
    assert rest.count(b"event: progress") > 5
    connection.close()


def test_a_client_that_leaves_its_stream_stops_the_job(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--cpu-kill-grace", "0")
    connection = server.connection()
    connection.request("GET", "/cpu/sleep?ms=60000&stream=1&lane=process")
    answer = connection.getresponse()
    assert answer.readline() == b"event: progress\n"
    connection.close()
    answer.close()

    wait_until(lambda: server.status()["workers"][0]["pool"]["processes_killed"] == 1)
    wait_until(lambda: server.get("/cpu/sleep?ms=1&lane=process")[0] == 200)


def test_a_job_that_eats_all_memory_is_507_and_alone(serve: Serve) -> None:
    server = serve(
        "--io-workers", "1", "--cpu-pool", "2", "--cpu-lane", "process", "--cpu-max-memory", "40M"
    )
    neighbour = server.in_background("GET", "/cpu/sleep?ms=1000")
    for _ in range(3):
        status, headers, body = server.get("/cpu/sort?n=10000000")  # 80 MB
        assert status == 507, body
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["title"] == "Job ran out of memory"
        assert server.get("/cpu/sort?n=1000000")[0] == 200
    assert neighbour.join().result is not None
    assert neighbour.result[0] == 200


def test_a_worker_whose_slots_are_lost_to_abandoned_threads_is_replaced_for_the_next_job(
    serve: Serve,
) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "2", "--graceful-timeout", "5")
    old = server.workers()[0]["pid"]
    stuck = [
        server.in_background("GET", "/cpu/sleep?ms=600000&lane=thread&deadline=0.2")
        for _ in range(2)
    ]
    for request in stuck:
        assert request.join().result[0] == 504

    waiting = server.in_background("GET", "/cpu/sleep?ms=1&lane=thread&deadline=3")
    wait_until(lambda: [w["pid"] for w in server.workers()] not in ([], [old]), what="a new worker")
    assert waiting.join().result[0] == 504  # the old worker had no slot for it
    wait_until(lambda: not psutil.pid_exists(old), what="the old worker has left")
    assert server.get("/cpu/sleep?ms=1&lane=thread")[0] == 200
