"""The endpoints of the rows "I/O", "both", "restarts" and "isolation"."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import falcon

import hybrid
from workloads.parameters import number, whole
from workloads.synthetic import run_synthetic

Request = falcon.Request
Response = falcon.Response
_LONGEST = 60_000  # ms a request may be asked to take


class Hello:
    """The article's example."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ``Hello from worker PID``."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"Hello from worker {os.getpid()}\n"

    on_head = on_get


class Wait:
    """Stands for one call to another service."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Wait `ms` without using the CPU."""
        ms = number(req, "ms", 20.0, 0, _LONGEST)
        began = time.perf_counter()
        await asyncio.sleep(ms / 1e3)
        resp.media = {"ms": ms, "waited_ms": round((time.perf_counter() - began) * 1e3, 3)}


class FanOut:
    """Stands for several calls at the same time."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Wait `n` times `ms`, all at once."""
        n, ms = whole(req, "n", 5, 1, 1000), number(req, "ms", 20.0, 0, _LONGEST)
        began = time.perf_counter()
        await asyncio.gather(*(asyncio.sleep(ms / 1e3) for _ in range(n)))
        resp.media = {
            "n": n,
            "ms": ms,
            "waited_ms": round((time.perf_counter() - began) * 1e3, 3),
        }


class Echo:
    """Bytes in, the same bytes out."""

    async def on_post(self, req: Any, resp: Response) -> None:
        """Answer the body with its own content type."""
        resp.data = await req.stream.read()
        resp.content_type = req.content_type or "application/octet-stream"


class Mixed:
    """I/O, then a job, then I/O: most real endpoints."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Wait, compute, wait."""
        io_ms = number(req, "io_ms", 20.0, 0, _LONGEST)
        kernel = req.get_param("kernel") or "svd"
        await asyncio.sleep(io_ms / 2e3)
        answer = await run_synthetic(req, kernel)
        await asyncio.sleep(io_ms / 2e3)
        resp.media = {"io_ms": io_ms, **answer}


class Counter:
    """A number in process memory: every worker has its own."""

    def __init__(self) -> None:
        self._count = 0

    async def on_get(self, req: Request, resp: Response) -> None:
        """Count this request."""
        self._count += 1
        resp.media = {"counter": self._count, "pid": os.getpid(), "worker": _slot()}


class Chaos:
    """Base: only with ``--chaos``; otherwise these paths do not exist."""

    def check(self) -> None:
        """Raise 404 unless the operator asked for chaos."""
        if not hybrid.current_view().topology().get("chaos"):
            raise falcon.HTTPNotFound(description="start hybrid with --chaos to have /ops")


class Crash(Chaos):
    """A bug that ends the process."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Die at once, without an answer."""
        self.check()
        os._exit(42)


class Block(Chaos):
    """A bug that blocks the event loop."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Sleep on the loop: every request of this worker waits."""
        self.check()
        ms = number(req, "ms", 1000.0, 0, _LONGEST)
        time.sleep(ms / 1e3)  # noqa: ASYNC251 - blocking the loop is the lesson
        resp.media = {"blocked_ms": ms, "worker": _slot()}


class Leak(Chaos):
    """A bug that keeps memory."""

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    async def on_post(self, req: Request, resp: Response) -> None:
        """Keep `mb` more MiB until this process ends."""
        self.check()
        mb = int(number(req, "mb", 10, 1, 1024))
        self._kept.append(bytearray(os.urandom(1024)) * (mb * 1024))
        resp.media = {"kept_mb": sum(len(b) for b in self._kept) // 2**20, "worker": _slot()}


def _slot() -> Any:
    return hybrid.current_view().topology().get("worker")
