"""A job that eats all memory, and the kernel that kills for it: in a control group with a limit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
APP = """
import falcon.asgi, hybrid

@hybrid.job
def eat():
    "Take memory until somebody dies."
    taken = []
    while True:
        taken.append(bytearray(b"x" * 2**20))

@hybrid.job
def whole():
    return "whole"

class Run:
    async def on_get(self, req, resp, name):
        resp.media = await hybrid.submit({"eat": eat, "whole": whole}[name])

app = falcon.asgi.App()
hybrid.install(app)
app.add_route("/{name}", Run())
"""
LIMIT = 200 * 2**20  # bytes that server and jobs may take from now on
_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group whose members have no more than LIMIT together."""
    is_v2 = (_V2 / "cgroup.controllers").exists()
    group = (_V2 if is_v2 else _V1) / f"hybrid-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(LIMIT))
    except OSError as ex:
        if group.exists():
            group.rmdir()
        pytest.skip(f"needs a memory control group, which takes root and its file system: {ex}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), what="the group is empty")
    group.rmdir()


def test_the_kernel_kills_the_pool_process_and_nobody_else(
    limited_group: Path, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "eater.py").write_text(APP)
    server = serve("eater:app", "--app-dir", str(tmp_path), "--io-workers", "1", "--cpu-pool", "2")
    family = [psutil.Process(server.pid), *server.remember()]
    for process in family:
        (limited_group / "cgroup.procs").write_text(str(process.pid))
    assert server.get("/whole")[0] == 200

    status, _, body = server.get("/eat")

    assert status == 500, body
    found = re.search(rb"pool process (\d+) died while it ran job eat", body)
    assert found, body
    assert [server.get("/whole")[0] for _ in range(4)] == [200] * 4
    (victim,) = [process for process in family if process.pid == int(found[1])]
    wait_until(lambda: not victim.is_running(), what="the killed process is reaped")
    assert [process for process in family if not process.is_running()] == [victim]
    assert _kills(limited_group) == 1


def _kills(group: Path) -> int:
    """Return how many processes of the group the kernel has killed for want of memory."""
    events = group / "memory.events"  # v2; in v1 the same line stands elsewhere
    text = (events if events.exists() else group / "memory.oom_control").read_text()
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])
