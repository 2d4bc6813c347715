"""The same endpoints as workloads/app.py, as a user of uvicorn would write them."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import falcon
import falcon.asgi

from workloads.kernels.primes import primes

SLOTS = int(os.environ["PEER_SLOTS"])


class Pool:
    """Falcon middleware that starts the pool with the application and ends it with it."""

    def __init__(self) -> None:
        self.executor: ProcessPoolExecutor | None = None

    async def process_startup(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        """Start every process before the first request."""
        self.executor = ProcessPoolExecutor(SLOTS)
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(self.executor, primes, 10_000) for _ in range(SLOTS))
        )

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        """End them."""
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)

    async def process_response(self, req: Any, resp: Any, resource: Any, ok: bool) -> None:
        """Say which worker answered."""
        resp.set_header("X-Worker", str(os.getpid()))


class Hello:
    """The article's example."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer ``Hello from worker PID``."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"Hello from worker {os.getpid()}\n"


class Wait:
    """Stands for one call to another service."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Wait ``ms``."""
        ms = req.get_param_as_float("ms", default=20.0)
        await asyncio.sleep(ms / 1e3)
        resp.media = {"ms": ms}


class Primes:
    """Pure Python in a pool process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Count the primes up to ``n``."""
        n = req.get_param_as_int("n", default=200_000)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._pool.executor, primes, n)
        resp.media = {"kernel": "primes", "n": n, "result": result}


_pool = Pool()
app = falcon.asgi.App(middleware=[_pool])
app.add_route("/hello", Hello())
app.add_route("/io/wait", Wait())
app.add_route("/cpu/primes", Primes(_pool))
