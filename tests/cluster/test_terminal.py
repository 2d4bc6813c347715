"""When the terminal closes, the server drains instead of reloading."""

from __future__ import annotations

import os
import pty
import re
import sys

import psutil

from tests.cluster.conftest import wait_until


def test_a_closed_terminal_ends_the_server_and_everybody_in_it() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(
            sys.executable,
            [
                sys.executable,
                "-m",
                "hybrid",
                "serve",
                "-w",
                "2",
                "--cpu-pool",
                "1",
                "--bind",
                "127.0.0.1:0",
            ],
        )
    output = b""
    while not re.search(rb"listening on", output):
        output += os.read(terminal, 4096)
    tree = psutil.Process(pid).children(recursive=True)

    os.close(terminal)

    def reaped() -> tuple[int, int] | None:
        found = os.waitpid(pid, os.WNOHANG)
        return found if found[0] else None

    _, status = wait_until(reaped, what="the server is gone")
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(tree) == 4
    wait_until(lambda: not any(p.is_running() for p in tree), 2.0, "everybody is gone")
