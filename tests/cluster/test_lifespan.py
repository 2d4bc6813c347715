"""An application that hangs or fails at its end, in a real server."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Server

Serve = Callable[..., Server]
APP = """
import asyncio
import sys

import hybrid


@hybrid.cluster.on_exit
def say(reason):
    print("on_exit was called", file=sys.stderr, flush=True)


async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    END
"""


@pytest.mark.parametrize(
    ("end", "line"),
    [
        ("await asyncio.Event().wait()", "shutdown took over"),
        ("raise RuntimeError('on purpose')", "RuntimeError: on purpose"),
        ("raise asyncio.CancelledError", "CancelledError"),
    ],
)
def test_a_worker_whose_application_does_not_end_well_says_so_and_leaves_by_itself(
    serve: Serve, tmp_path: Path, end: str, line: str
) -> None:
    (tmp_path / "ends.py").write_text(APP.replace("END", end))
    server = serve("ends:app", "-w", "1", "--graceful-timeout", "0.5", cwd=tmp_path)

    server.signal(signal.SIGTERM)

    assert server.wait_exit() == 0
    assert line in server.log
    assert "on_exit was called" in server.log
    assert "is killed" not in server.log
