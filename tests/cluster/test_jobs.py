"""Jobs through HTTP: deadlines, overflow, departures, the limit over all workers."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable

import psutil
import pytest

from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]


def totals(server: Server) -> dict[str, int]:
    answer: dict[str, int] = server.status()["totals"]
    return answer


def test_a_job_that_misses_its_deadline_is_504_and_really_stopped(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--cpu-kill-grace", "0.1")
    before = {p.pid for p in server.remember()}

    status, headers, body = server.get("/cpu/sleep?ms=60000&lane=process&deadline=0.2")

    assert status == 504
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    wait_until(
        lambda: len(before & {p.pid for p in server.remember()}) < len(before), what="killed"
    )
    assert server.get("/cpu/primes?n=1000&lane=process")[0] == 200
    assert server.workers()[0]["pool"]["processes_killed"] == 1


def test_what_does_not_fit_in_the_queue_is_503_with_retry_after(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--cpu-queue", "1")
    jobs = [server.in_background("GET", "/cpu/sleep?ms=1500&lane=thread")]
    wait_until(lambda: server.workers()[0]["pool"]["busy"] == 1, what="one runs")
    jobs.append(server.in_background("GET", "/cpu/sleep?ms=10&lane=thread"))
    wait_until(lambda: server.workers()[0]["pool"]["queued"] == 1, what="one waits")

    status, headers, _ = server.get("/cpu/sleep?ms=10&lane=thread")

    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert {job.join().result[0] for job in jobs if job.result or job.join().result} == {200}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_the_job_of_a_client_that_is_gone_is_stopped(serve: Serve, how: str, loop: str) -> None:
    grace = ("--cpu-kill-grace", "0.1")
    server = serve("--io-workers", "1", "--cpu-pool", "1", *grace, "--loop", loop)
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(b"GET /cpu/sleep?ms=60000&lane=process HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: server.workers()[0]["pool"]["busy"] == 1, what="it runs")

    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    wait_until(lambda: server.workers()[0]["pool"]["busy"] == 0, what="its slot is free")
    pool = server.workers()[0]["pool"]
    assert (pool["jobs"]["cancelled"], pool["processes_killed"]) == (1, 1)


def test_the_waiting_job_of_a_client_that_is_gone_never_runs(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--cpu-kill-grace", "0.1")
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    for client, place in zip(clients, ("busy", "queued"), strict=True):
        client.sendall(b"GET /cpu/sleep?ms=60000&lane=process HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda place=place: server.workers()[0]["pool"][place] == 1, what=place)

    clients[1].close()

    wait_until(lambda: server.workers()[0]["pool"]["queued"] == 0, what="the line is empty")
    assert server.workers()[0]["pool"]["busy"] == 1
    assert server.workers()[0]["pool"]["processes_killed"] == 0
    clients[0].close()
    wait_until(lambda: server.workers()[0]["pool"]["busy"] == 0, what="its slot is free")


def test_a_client_that_may_half_close_gets_its_answer(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--half-close")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /cpu/sleep?ms=300 HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        client.settimeout(10)
        assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_no_more_jobs_run_than_the_cluster_may(serve: Serve) -> None:
    server = serve("--io-workers", "3", "--cpu-pool", "3", "--cpu-limit", "2")
    began = time.monotonic()
    jobs = [server.in_background("GET", "/cpu/sleep?ms=300&permit=1") for _ in range(6)]

    assert [job.join().result[0] for job in jobs] == [200] * 6

    # Nine slots would do all six at once. (The rows of the scoreboard cannot be added up
    # for this: each shows another moment of the last 0.1 s.)
    assert time.monotonic() - began >= 3 * 0.3
    wait_until(lambda: totals(server)["jobs_ok"] == 6, what="all are counted")


def test_the_same_seed_gives_the_same_result_on_every_lane(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "2")
    for kernel in (
        "matmul?n=60",
        "svd?n=40",
        "fft?n=999",
        "sort?n=999",
        "montecarlo?n=999",
        "primes?n=999",
    ):
        answers = []
        for lane in ("inline", "thread", "process"):
            status, headers, body = server.get(f"/cpu/{kernel}&seed=7&lane={lane}")
            answer = json.loads(body)
            assert (status, answer["lane"]) == (200, lane)
            assert headers["server-timing"].startswith("queue;dur=")
            answers.append(answer["result"])
        assert answers[0] == answers[1] == answers[2]


def test_many_missed_deadlines_leave_nothing_behind(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "2", "--cpu-kill-grace", "0")
    primary = psutil.Process(server.pid)
    before = primary.num_fds()

    statuses = {server.get("/cpu/sleep?ms=5000&lane=process&deadline=0.02")[0] for _ in range(20)}

    assert statuses <= {503, 504}
    wait_until(lambda: server.workers()[0]["pool"]["busy"] == 0, what="all slots are free")
    assert server.get("/cpu/primes?n=1000&lane=process&deadline=15")[0] == 200
    wait_until(lambda: primary.num_fds() <= before, what="descriptors of the primary")
