"""Real programs ask for work that would never end, and leave: it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.browser import Browser, running_browser
from tests.cluster.conftest import Server, wait_until
from tests.programs import need

Serve = Callable[..., Server]
JOBS = """
import time

import hybrid


@hybrid.job
def endless():
    while True:
        time.sleep(0.01)
"""
APP = """
import hybrid
from jobs import endless

PAGE = b"<!doctype html><title>page</title><script>fetch('/job')</script>"


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/job":
        await hybrid.submit(endless)
    # Without no-store the browser keeps a page that was left for its back button, and with it
    # the request that the page waits for.
    headers = [(b"content-type", b"text/html"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})
"""
PATIENCE = 60.0  # s, beside other programs


class Cluster:
    """A server with one slot, whose jobs end only by being killed."""

    def __init__(self, serve: Serve, folder: Path, loop: str) -> None:
        (folder / "jobs.py").write_text(JOBS)
        (folder / "app.py").write_text(APP)
        self._control = folder / "control.sock"
        sizes = ("--io-workers", "1", "--cpu-pool", "1", "--cpu-limit", "1", "--loop", loop)
        times = ("--cpu-deadline", "0", "--cpu-kill-grace", "0.1")
        control = ("--control-socket", str(self._control))
        server = serve("app:app", *sizes, *times, *control, cwd=folder)
        self.url = f"http://127.0.0.1:{server.port}"

    def pool(self) -> dict[str, Any]:
        """Return what ``hybrid status --json`` says of the worker's pool."""
        command = [sys.executable, "-m", "hybrid", "status", "--json"]
        command += ["--control-socket", str(self._control)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        pool: dict[str, Any] = json.loads(done.stdout)["workers"][0]["pool"]
        return pool

    def wait_for_job(self) -> None:
        wait_until(lambda: self.pool()["busy"] == 1, PATIENCE, "the job runs")

    def wait_for_freedom(self) -> None:
        """Wait until the one job was stopped, its process killed, and its slot is free."""

        def is_free() -> bool:
            pool = self.pool()
            ended = (pool["jobs"]["cancelled"], pool["processes_killed"])
            return (pool["busy"], pool["queued"], *ended) == (0, 0, 1, 1)

        wait_until(is_free, PATIENCE, "its slot is free")


@pytest.fixture(params=["uvloop", "asyncio"])
def cluster(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Cluster:
    return Cluster(serve, tmp_path, request.param)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with running_browser(tmp_path / "profile") as started:
        yield started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_job_of_a_killed_curl_is_stopped(cluster: Cluster, number: signal.Signals) -> None:
    # A suite that runs in the background of a script has SIGINT ignored, and curl would inherit it.
    as_in_a_terminal = ["env", "--default-signal=INT"]
    with subprocess.Popen(
        [*as_in_a_terminal, need("curl"), "-sS", f"{cluster.url}/job"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as curl:
        cluster.wait_for_job()
        curl.send_signal(number)

    cluster.wait_for_freedom()


def test_the_job_of_a_closed_tab_is_stopped(cluster: Cluster, browser: Browser) -> None:
    tab = browser.open(f"{cluster.url}/")
    cluster.wait_for_job()

    tab.close()

    cluster.wait_for_freedom()


def test_the_job_of_a_page_that_was_left_is_stopped(cluster: Cluster, browser: Browser) -> None:
    tab = browser.open(f"{cluster.url}/")
    cluster.wait_for_job()

    tab.go_to("about:blank")

    cluster.wait_for_freedom()


def test_the_job_of_a_browser_that_died_is_stopped(cluster: Cluster, browser: Browser) -> None:
    browser.open(f"{cluster.url}/")
    cluster.wait_for_job()

    browser.kill()

    cluster.wait_for_freedom()
