"""SIGKILL of anybody while long jobs run: whoever must go is gone within 2 s."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Server, _alive, wait_until

Serve = Callable[..., Server]
SMALL = ("--io-workers", "2", "--cpu-pool", "2", "--cpu-limit", "none")
JOBS = {
    "pure Python in a process": "/cpu/primes?n=5000000&lane=process",
    "C in a process": "/cpu/sleep?ms=30000&lane=process",
    "C in a thread": "/cpu/sleep?ms=30000&lane=thread",
}


LONG = """
import time

import hybrid


@hybrid.job
def hold():
    return sum(range(10**11))  # one call of C that holds the GIL, for hours


@hybrid.job
def end():
    pass


@hybrid.job
def spin():
    while time.monotonic():
        pass
"""
APP = """
import falcon.asgi

import hybrid
import long_jobs


class Run:
    async def on_get(self, req, resp, job, lane):
        await hybrid.submit(getattr(long_jobs, job), lane=lane)


app = falcon.asgi.App()
hybrid.install(app)
app.add_route("/run/{job}/{lane}", Run())
app.add_route("/status", hybrid.Status())
"""


def serve_long_jobs(serve: Serve, folder: Path, *flags: str) -> Server:
    (folder / "long_jobs.py").write_text(LONG)
    (folder / "long_app.py").write_text(APP)
    # A niced process would hardly run beside another busy program, and these must.
    return serve("long_app:app", "--io-workers", "1", "--cpu-nice", "0", *flags, cwd=folder)


def start_jobs(server: Server) -> None:
    for path in JOBS.values():
        server.in_background("GET", path)
    wait_until(
        lambda: sum(w["pool"]["busy"] + w["pool"]["queued"] for w in server.workers()) == 3,
        what="all jobs are in",
    )
    server.remember()


def test_a_killed_primary_takes_everybody_with_it(serve: Serve) -> None:
    server = serve(*SMALL)
    start_jobs(server)
    os.kill(server.pid, signal.SIGKILL)
    server.wait_exit()
    server.assert_gone(2.0)


def test_a_killed_worker_takes_its_pool_processes_and_is_replaced(serve: Serve) -> None:
    server = serve(*SMALL)
    start_jobs(server)
    victim = next(w for w in server.workers() if w["pool"]["busy"])
    before = {p.pid for p in server.remember()}

    os.kill(victim["pid"], signal.SIGKILL)

    wait_until(lambda: not psutil.pid_exists(victim["pid"]), 2.0, "reaped")
    wait_until(
        lambda: {w["slot"] for w in server.workers() if w["pid"] != victim["pid"]} == {1, 2},
        what="the slot is filled again",
    )
    assert "killed by SIGKILL" in server.log
    processes = {p.pid for p in server.remember()} - before
    assert processes  # the replacement, with its own pool processes


def test_a_killed_pool_process_costs_its_one_job_and_the_pool_keeps_its_size(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve_long_jobs(serve, tmp_path, "--cpu-pool", "1")
    worker = server.workers()[0]["pid"]
    (member,) = [p for p in server.remember() if p.pid != worker]
    before = _cpu(member)
    job = server.in_background("GET", "/run/spin/process")
    # A process that dies before it has read the job costs nothing: the next one runs it.
    wait_until(lambda: _cpu(member) > before + 0.05, what="it runs")

    os.kill(member.pid, signal.SIGKILL)

    answer = job.join().result
    assert answer is not None
    assert answer[0] == 500
    assert b"spin" in answer[2]
    for _ in range(4):
        assert server.get("/run/end/process")[0] == 200
    pool = server.workers()[0]["pool"]
    assert (pool["jobs"]["broken"], pool["busy"], pool["processes"]) == (1, 0, 1)


@pytest.mark.parametrize("how", ["crash", "kill"])
def test_the_log_says_how_a_worker_died(serve: Serve, how: str) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "0", "--chaos")
    if how == "crash":
        server.in_background("POST", "/ops/crash").join()
        server.wait_for_log("exit code 42")
    else:
        os.kill(server.workers()[0]["pid"], signal.SIGSEGV)
        server.wait_for_log("killed by SIGSEGV")
    wait_until(lambda: len(server.workers()) == 2, what="whole again")


def test_a_primary_that_cannot_fork_says_so_and_tries_again_and_leaks_nothing(
    serve: Serve,
) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "0")
    primary = psutil.Process(server.pid)
    before = primary.num_fds()
    limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    victim = server.workers()[0]["pid"]
    # The first numbers stay in use, so nothing can be opened. Not fewer than the primary
    # waits for: poll(2) refuses more descriptors than the limit has.
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (6, limit[1]))

    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: server.log.count("cannot fork a worker") >= 3, what=server.log)
    assert server.get("/hello")[0] == 200
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)

    wait_until(lambda: len(server.workers()) == 2, what="whole again")
    assert len(server.status()["workers"]) == 2
    assert primary.num_fds() == before


@pytest.mark.parametrize("victim", ["primary", "worker", "pool process"])
@pytest.mark.parametrize("job", ["hold", "spin"])
def test_jobs_that_would_never_end_outlive_nobody(
    serve: Serve, tmp_path: Path, job: str, victim: str
) -> None:
    server = serve_long_jobs(serve, tmp_path, "--cpu-pool", "2", "--cpu-limit", "none")
    worker = psutil.Process(server.workers()[0]["pid"])
    members = [p for p in server.remember() if p.pid != worker.pid]
    server.in_background("GET", f"/run/{job}/process")
    server.in_background("GET", f"/run/{job}/thread")  # the worker's own loop has to bear this
    wait_until(lambda: any(_cpu(p) > 0.3 for p in members), what="the pool process computes")
    wait_until(lambda: _cpu(worker) > 0.8, what="the worker's thread computes")
    (busy,) = [p for p in members if _cpu(p) > 0.3]
    doomed = {"primary": [worker, *members], "worker": [worker, *members], "pool process": [busy]}

    os.kill({"primary": server.pid, "worker": worker.pid}.get(victim, busy.pid), signal.SIGKILL)

    wait_until(lambda: not any(_alive(p) for p in doomed[victim]), 2.0, "gone")
    if victim != "primary":  # nobody is a zombie: somebody has reaped them
        wait_until(lambda: not any(p.is_running() for p in doomed[victim]), 2.0, "reaped")


def _cpu(process: psutil.Process) -> float:
    return float(process.cpu_times().user)


def test_a_handler_that_exits_costs_its_client_a_500_and_no_other_anything(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "exits.py").write_text(
        "import asyncio, os, sys\n"
        "exits = asyncio.Event()\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    if scope['path'] == '/exit':\n"
        "        exits.set()\n"
        "        sys.exit(3)\n"
        "    if scope['path'] == '/slow':\n"
        "        await exits.wait()\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'%d' % os.getpid()})\n"
    )
    server = serve("exits:app", "--io-workers", "1", "--cpu-pool", "0", cwd=tmp_path)
    pid = server.get("/")[2]
    slow = server.in_background("GET", "/slow")

    assert server.get("/exit")[0] == 500

    result = slow.join().result
    assert result is not None
    assert result[2] == pid
    server.wait_for_log("will be replaced: SystemExit in the application")
    wait_until(lambda: server.get("/")[2] != pid, what="it is replaced")
