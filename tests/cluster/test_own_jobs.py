"""An application's own jobs in a real server: initialisers, broadcast, BLAS, advice, bad ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
JOBS = """
import os, time
import hybrid, numpy as np
from threadpoolctl import threadpool_info

ready = 0

@hybrid.initializer
def prepare():
    global ready
    ready = os.getpid()

@hybrid.job
def ask():
    "Return who this is, whether it was prepared, and the threads its BLAS reports."
    np.ones((9, 9)) @ np.ones((9, 9))
    return os.getpid(), ready == os.getpid(), max(b["num_threads"] for b in threadpool_info())

@hybrid.job(releases_gil=True)
def pure(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

@hybrid.job(releases_gil=True)
def endless():
    while True:
        time.sleep(0.01)

@hybrid.job(releases_gil=True)
def quick():
    return 1

@hybrid.job
def leave():
    os._exit(3)

@hybrid.job
def shell(path):
    import pathlib, subprocess
    process = subprocess.Popen(["sleep", "1000"])
    pathlib.Path(path).write_text(str(process.pid))
    process.wait()

@hybrid.job
def fault():
    import ctypes
    ctypes.string_at(0)

@hybrid.job
def close():
    os.closerange(3, 1024)
"""
APP = """
import falcon.asgi, hybrid, own_jobs

class Run:
    async def on_get(self, req, resp, name):
        job, lane = getattr(own_jobs, name), req.get_param("lane")
        if req.get_param_as_bool("all"):
            resp.media = await hybrid.broadcast(job, deadline=20.0)
        else:
            args = [0.5] if name == "pure" else [req.get_param("path")] if name == "shell" else []
            deadline = req.get_param_as_float("deadline")
            resp.media = await hybrid.submit(job, *args, lane=lane, deadline=deadline)

app = falcon.asgi.App()
hybrid.install(app)
app.add_route("/{name}", Run())
"""


@pytest.fixture
def own(serve: Serve, tmp_path: Path) -> Serve:
    (tmp_path / "own_jobs.py").write_text(JOBS)
    (tmp_path / "own_app.py").write_text(APP)

    def start(*flags: str) -> Server:
        return serve("own_app:app", "--app-dir", str(tmp_path), "--io-workers", "1", *flags)

    return start


def ask(server: Server, query: str) -> Any:
    status, _, body = server.get(f"/ask?{query}")
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize("threads", [1, 2])
def test_blas_threads_and_initialisers_on_both_lanes(own: Serve, threads: int) -> None:
    server = own("--cpu-pool", "2", "--blas-threads", str(threads))
    worker = ask(server, "lane=inline")[0]

    assert ask(server, "lane=thread") == [worker, True, threads]
    pid, is_prepared, reported = ask(server, "lane=process")
    assert (pid != worker, is_prepared, reported) == (True, True, threads)


def test_a_broadcast_reaches_every_process_of_the_worker(own: Serve) -> None:
    server = own("--cpu-pool", "3")

    answers = ask(server, "all=1")

    assert answers[0][0] == ask(server, "lane=inline")[0]
    assert len({pid for pid, _, _ in answers}) == 4
    assert [is_prepared for _, is_prepared, _ in answers] == [True] * 4


def test_a_thread_job_that_holds_the_gil_is_named_once_with_the_advice(own: Serve) -> None:
    server = own("--cpu-pool", "1")

    for _ in range(4):
        assert server.get("/pure")[0] == 200

    server.wait_for_log(r"own_jobs:pure is declared releases_gil=True but holds the GIL.*drop rel")
    assert server.get("/pure")[0] == 200
    assert server.log.count("but holds the GIL") == 1


@pytest.mark.parametrize("end", ["leave", "fault", "close"])
def test_a_job_that_ends_its_process_costs_only_itself(own: Serve, end: str) -> None:
    server = own("--cpu-pool", "2")
    worker = ask(server, "lane=inline")[0]
    before = {pid for pid, _, _ in ask(server, "all=1")}

    status, _, body = server.get(f"/{end}")

    assert (status, end.encode() in body) == (500, True)
    wait_until(lambda: len(ask(server, "all=1")) == 3, what="the pool has its size again")
    after = {pid for pid, _, _ in ask(server, "all=1")}
    assert worker in after
    assert len(before & after) == 2  # the worker and the other process are untouched


def test_endless_thread_jobs_do_not_stop_the_jobs_of_the_cluster(own: Serve) -> None:
    server = own("--io-workers", "2", "--cpu-limit", "2", "--cpu-kill-grace", "0.1")
    assert [server.get("/endless?deadline=0.1")[0] for _ in range(2)] == [504, 504]

    wait_until(lambda: server.get("/quick?deadline=1")[0] == 200, what="a job runs again")

    server.wait_for_log(r"WARNING .* thread job endless goes on")
    server.wait_for_log(r"will be replaced: .* held by abandoned jobs \(endless\)")


def test_what_a_job_has_started_ends_with_its_pool_process(own: Serve, tmp_path: Path) -> None:
    server = own("--cpu-pool", "1", "--cpu-kill-grace", "0.1", "--cpu-nice", "0")
    told = tmp_path / "pid"
    request = server.in_background("GET", f"/shell?path={told}&deadline=5")
    wait_until(lambda: told.exists() and told.read_text(), what="it runs")
    child = psutil.Process(int(told.read_text()))

    answer = request.join().result

    assert answer is not None
    assert answer[0] == 504
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
