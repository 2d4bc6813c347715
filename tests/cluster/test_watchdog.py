"""A loop that stands still: named by default, killed only where the operator says so."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import cast

import pytest

from hybrid.pool.thread.thread_lane import PoolThread, ThreadLane
from hybrid.worker.upkeep.watchdog import Lateness, Watchdog, find_blocker
from tests.cluster.conftest import Run, Server, wait_until

Serve = Callable[..., Server]
APP = """
import os
import threading
import time

import falcon
import falcon.asgi


class Sum:
    async def on_get(self, req, resp):
        resp.media = sum(range(60_000_000))  # one C function, which holds the GIL


class SumElsewhere:
    async def on_get(self, req, resp):
        threading.Timer(0.05, work).start()  # begins when the loop is idle again


def work():
    return sum(range(60_000_000))


class Spin:
    async def on_get(self, req, resp):
        end = time.monotonic() + req.get_param_as_float("seconds")
        while time.monotonic() < end:
            pass
        resp.media = os.getpid()


app = falcon.asgi.App()
app.add_route("/sum", Sum())
app.add_route("/elsewhere", SumElsewhere())
app.add_route("/spin", Spin())
"""


def test_the_line_that_blocks_the_loop_is_named_once(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--chaos")
    for _ in range(2):
        assert server.request("POST", "/ops/block?ms=400")[0] == 200

    found = server.wait_for_log(r"the event loop is blocked, its tick is 0\.\d\d s late: (.*)\n?")
    assert "workloads/resources.py" in found[1]
    assert "in on_post" in found[1]
    assert server.log.count("event loop is blocked") == 1


@pytest.mark.parametrize(("path", "words"), [("/sum", "versioned"), ("/elsewhere", "in work")])
def test_code_that_holds_the_gil_is_named_afterwards(
    serve: Serve, tmp_path: Path, path: str, words: str
) -> None:
    (tmp_path / "versioned.py").write_text(APP)
    server = serve("versioned:app", "--io-workers", "1", "--cpu-pool", "0", cwd=tmp_path)

    def named() -> bool:
        # On a busy machine the watchdog may find that no CPU was free for it, and says so.
        assert server.get(path)[0] == 200
        lines = [line for line in server.lines if "the event loop is blocked" in line]
        return any(words in line and "held the GIL" in line for line in lines)

    # Each try is a chance: the loop may run before the watchdog, which then finds nothing.
    wait_until(named, 60, f"{words} is named in\n{server.log}")


def test_a_stopped_process_accuses_nobody(run: Run) -> None:
    script = run("late_loop.py")
    script.wait_for_log("ticks")
    script.signal(signal.SIGSTOP)
    later = time.monotonic() + 2.0  # over the script's LATE, twice its LIMIT
    wait_until(lambda: time.monotonic() > later)
    script.signal(signal.SIGCONT)
    script.wait_for_log("the event loop is blocked.*\\n?")
    told = [line for line in script.lines if "the event loop is blocked" in line]
    assert [line.split(": ")[-1] for line in told] == ["the whole process was stopped"]


@pytest.mark.soak
def test_a_worker_that_computes_in_its_loop_is_not_killed(serve: Serve, tmp_path: Path) -> None:
    seconds = 60 if os.environ.get("HYBRID_SOAK") else 3
    (tmp_path / "versioned.py").write_text(APP)
    server = serve("versioned:app", "--io-workers", "1", "--cpu-pool", "0", cwd=tmp_path)
    (before,) = [process.pid for process in server.remember()]

    client = server.connection(timeout=seconds + 20)
    client.request("GET", f"/spin?seconds={seconds}")
    answer = client.getresponse()

    assert (answer.status, answer.read()) == (200, str(before).encode())
    client.close()
    assert [process.pid for process in server.remember()] == [before]


def test_beyond_the_hang_timeout_the_stacks_are_printed_and_the_worker_replaced(
    serve: Serve,
) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--chaos", "--hang-timeout", "500ms")
    before = server.workers()[0]["pid"]
    server.in_background("POST", "/ops/block?ms=60000")

    server.wait_for_log("the event loop has stood still for")
    server.wait_for_log(r"File .*workloads/resources.py\", line \d+ in on_post")
    wait_until(lambda: server.workers()[0]["pid"] != before, what="it is replaced")


def test_usr2_to_a_worker_prints_its_stacks_and_changes_nothing(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0")
    before = server.workers()[0]["pid"]
    os.kill(before, signal.SIGUSR2)
    server.wait_for_log("most recent call first")
    assert server.workers()[0]["pid"] == before


def a_frame() -> FrameType:
    return sys._getframe()


@pytest.mark.parametrize(
    ("lateness", "words"),
    [
        (
            Lateness(late=0.5, overslept=0.0, ran=0.5, queued=0.0),
            r"test_watchdog.py:\d+ in a_frame$",
        ),
        (
            Lateness(late=0.5, overslept=0.5, ran=0.5, queued=0.0),
            r"a_frame, seen at its end because",
        ),
        (
            Lateness(late=0.5, overslept=0.5, ran=0.0, queued=0.0),
            r"^the whole process was stopped$",
        ),
        (
            Lateness(late=0.5, overslept=0.5, ran=0.1, queued=0.4),
            r"^no CPU was free for it \(0.40 s",
        ),
    ],
)
def test_code_is_named_only_if_it_can_be_the_cause(lateness: Lateness, words: str) -> None:
    assert re.search(words, find_blocker(lateness, 0.1, a_frame(), []))


def test_another_thread_is_named_when_the_loop_itself_waits() -> None:
    lateness = Lateness(late=0.5, overslept=0.0, ran=0.5, queued=0.0)
    found = find_blocker(lateness, 0.1, None, [a_frame()])
    assert re.search(r"another thread holds the GIL: .* in a_frame$", found)


def test_an_idle_pool_thread_is_not_named() -> None:
    idle = PoolThread(1, cast(ThreadLane, None))
    try:
        wait_until(lambda: _stands_in(idle, "_work"), what="it waits for a call")
        frame = sys._current_frames()[idle.thread.ident or 0]
        lateness = Lateness(late=0.1, overslept=0.0, ran=0.1, queued=0.0)
        assert find_blocker(lateness, 0.1, None, [frame]) == "what blocked it has just returned"
    finally:
        idle.end_after_call()
        idle.thread.join()


def _stands_in(thread: PoolThread, function: str) -> bool:
    frame = sys._current_frames().get(thread.thread.ident or 0)
    return frame is not None and frame.f_code.co_name == function


def test_a_tick_that_is_brought_forward_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that rested is blocked by the first request that it gets."""
    before = set(threading.enumerate())
    due = time.monotonic() + 3600.0
    watchdog = Watchdog(1, 0.05, lambda: due)
    watchdog.start()
    try:
        due = time.monotonic()
        watchdog.note_earlier_tick()  # and this thread, the one that is watched, runs no loop
        wait_until(lambda: "the event loop is blocked" in caplog.text, what="it is named")
    finally:
        watchdog.stop()
        wait_until(lambda: set(threading.enumerate()) <= before, what="its thread is gone")
