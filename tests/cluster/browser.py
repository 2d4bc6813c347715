"""A real browser without a window, driven over its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from websockets.sync.client import ClientConnection, connect

from tests.cluster.conftest import wait_until
from tests.programs import need

_PATIENCE = 60.0  # s; a cold start beside other programs takes its time
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own; afterwards nothing of it is left.

    Args:
        profile: a folder that does not exist yet.
    """
    process = subprocess.Popen(
        [need("chromium"), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told = profile / "DevToolsActivePort"
        wait_until(lambda: told.exists() and told.read_text().count("\n"), _PATIENCE, "a browser")
        port, path = told.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as devtools:
            yield Browser(process, devtools)
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a browser and its helpers, wherever they stand."""
    if process.poll() is not None:
        return
    tree = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for helper in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            helper.kill()
    _, left = psutil.wait_procs(tree, _PATIENCE)
    assert not left


class Browser:
    """A running browser, without a window."""

    def __init__(self, process: subprocess.Popen[bytes], devtools: ClientConnection) -> None:
        self._process, self._devtools = process, devtools
        self._numbers = itertools.count(1)

    def ask(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send one command, and return its result; events that come before it are passed over."""
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        self._devtools.send(json.dumps(command))
        while True:
            message = json.loads(self._devtools.recv(timeout=_PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result

    def open(self, url: str) -> Tab:
        """Open a tab."""
        return Tab(self, self.ask("Target.createTarget", url=url)["targetId"])

    def kill(self) -> None:
        """End it at once, as a crash or an impatient user does."""
        _kill(self._process)


class Tab:
    """One page of a browser."""

    def __init__(self, browser: Browser, target: str) -> None:
        self._browser, self._target = browser, target
        attached = browser.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def go_to(self, url: str) -> None:
        """Leave the page for another one."""
        self._browser.ask("Page.navigate", self._session, url=url)

    def close(self) -> None:
        """Close the tab."""
        self._browser.ask("Target.closeTarget", targetId=self._target)
