"""hybrid's server in one process, without one thing at a time: what does each cost?

``python -m benchmarks.http.ablation PORT [FEATURE …]`` leaves the named features
out. For the table only: no flag of hybrid can do this, and none should.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from dataclasses import replace

from benchmarks.http.app import app
from hybrid.config import HttpConfig, LogConfig
from hybrid.http.access_log import AccessLog
from hybrid.http.answer.heads import Heads
from hybrid.http.exchange import application_run
from hybrid.http.loops import new_event_loop
from hybrid.http.server import HttpServer
from hybrid.http.shared import Counts, Shared

FEATURES = ("request id", "Date", "X-Worker", "latency histogram", "job context", "X-Forwarded")


def leave_out(feature: str) -> None:
    """Replace a feature by nothing, in this process."""
    if feature == "request id":
        Shared.new_request_id = lambda self: "-"  # type: ignore[method-assign]
    elif feature == "Date":
        Heads.common = lambda self: self._constant  # type: ignore[method-assign]
    elif feature == "latency histogram":
        Counts.count = _count_nothing  # type: ignore[method-assign]
    elif feature == "job context":
        application_run.current_departure = _Forgetful()  # type: ignore[assignment]


def _count_nothing(self: Counts, status: int, seconds: float) -> None:
    self.active -= 1


class _Forgetful:
    """A context variable that is none."""

    def set(self, value: object) -> None: ...


async def main(port: int, features: set[str]) -> None:
    """Serve until killed."""
    for feature in features:
        leave_out(feature)
    settings = HttpConfig()
    if "X-Forwarded" in features:
        settings = replace(settings, proxy_headers=False)
    server = HttpServer(
        app,
        settings,
        state={},
        headers=() if "X-Worker" in features else ((b"x-worker", b"1"),),
        log=LogConfig(access=False),
    )
    if "+access log" in features:
        sink = open(os.devnull, "w")  # noqa: ASYNC230, SIM115 - one, for the process's life
        server._shared.log = AccessLog("text", "1", lambda block: print(end=block, file=sink))
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    server.start_accepting([listener])
    await asyncio.Event().wait()


if __name__ == "__main__":
    new_event_loop().run_until_complete(main(int(sys.argv[1]), set(sys.argv[2:])))
