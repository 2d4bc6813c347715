"""When the terminal closes, the server drains instead of reloading."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import _alive, wait_until

ROOT = Path(__file__).parents[2]
SERVE = [sys.executable, "-m", "hybrid", "serve", "-w", "2", "--cpu-pool", "1"]
SERVE += ["--bind", "127.0.0.1:0"]
Open = Callable[..., "Session"]


class Session:
    """A terminal, and the program that leads its session."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the suite itself may run under nohup
            os.execvp(command[0], command)
        self.output = b""
        while not re.search(rb"listening on", self.output):
            self.output += os.read(self.terminal, 4096)
        found = re.search(rb"\(pid (\d+)\)", self.output)
        assert found
        self.primary = psutil.Process(int(found[1]))
        self.tree = [self.primary, *self.primary.children(recursive=True)]

    def close(self) -> None:
        os.close(self.terminal)
        self.terminal = -1

    def reaped(self) -> tuple[int, int] | None:
        found = os.waitpid(self.pid, os.WNOHANG)
        return found if found[0] else None

    def end(self) -> None:
        for process in self.tree:
            if _alive(process):
                process.kill()
        if self.terminal >= 0:
            os.close(self.terminal)


@pytest.fixture
def opened() -> Iterator[Open]:
    sessions: list[Session] = []

    def start(*command: str) -> Session:
        sessions.append(Session(list(command)))
        return sessions[-1]

    yield start
    for session in sessions:
        session.end()


def test_a_closed_terminal_ends_the_server_and_everybody_in_it(opened: Open) -> None:
    session = opened(*SERVE)
    assert len(session.tree) == 5

    session.close()

    _, status = wait_until(session.reaped, what="the server is gone")
    assert os.waitstatus_to_exitcode(status) == 0
    wait_until(lambda: not any(_alive(p) for p in session.tree), 2.0, "everybody is gone")


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_a_session_led_by_make_passes_nothing_on_and_the_server_ends_all_the_same(
    opened: Open, tmp_path: Path
) -> None:
    recipe = tmp_path / "Makefile"
    recipe.write_text("serve:\n\t@exec " + " ".join(SERVE) + "\n")
    session = opened("make", "-f", str(recipe), "serve")
    assert session.primary.pid != session.pid

    session.close()

    wait_until(session.reaped, what="make and the server are gone")
    wait_until(lambda: not any(_alive(p) for p in session.tree), 2.0, "everybody is gone")


def test_nohup_outlives_its_terminal(opened: Open) -> None:
    quiet = "trap '' HUP; exec " + " ".join(SERVE)
    session = opened("sh", "-c", quiet)

    session.close()
    session.primary.send_signal(signal.SIGHUP)

    wait_until(lambda: len(_children(session) - {p.pid for p in session.tree}) >= 2, what="reload")
    assert _alive(session.primary)
    session.primary.terminate()
    _, status = wait_until(session.reaped, what="the server is gone")
    assert os.waitstatus_to_exitcode(status) == 0


def _children(session: Session) -> set[int]:
    return {p.pid for p in session.primary.children()}
