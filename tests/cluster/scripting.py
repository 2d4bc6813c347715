"""A script that is its own primary, run in a subprocess: what it prints, who is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Server

HEAD = """
import asyncio, os, signal, sys, time
import hybrid
from hybrid import cluster

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines, from any process

def hello(request):
    return f"Hello from worker {os.getpid()}"

async def serve():
    await cluster.serve(hello)

"""


class Script(Server):
    """A running script; `lines` are what its primary and its workers print."""

    def __init__(self, path: Path) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HYBRID_")}
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.process.stderr = self.process.stdout  # where `Server` reads
        self.pid = self.process.pid
        self.lines: list[str] = []
        self._seen: dict[int, psutil.Process] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    known_port = 0  # where the script does not say it

    @property
    def port(self) -> int:
        return self.known_port or int(self.wait_for_log(r"http://127\.0\.0\.1:(\d+)")[1])

    def said(self, pattern: str) -> list[re.Match[str]]:
        return [found for line in list(self.lines) if (found := re.fullmatch(pattern, line))]


Run = Callable[[str], Script]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run scripts, given without `HEAD`; afterwards none of their processes is left."""
    scripts: list[Script] = []

    def start(text: str) -> Script:
        path = tmp_path / f"script{len(scripts)}.py"
        path.write_text(HEAD + text)
        scripts.append(Script(path))
        return scripts[-1]

    yield start
    for script in scripts:
        script.end()
