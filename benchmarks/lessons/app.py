"""The lessons' application: kernels by name, and what a crossing costs, timed in the worker.

Served by a real `hybrid serve`; it uses the public API only.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import falcon
import falcon.asgi
import numpy as np

import hybrid
from benchmarks.lessons import jobs

LONGEST = 100_000_000  # bytes of a payload
LANES = ("inline", "thread", "process")


class Hello:
    """A request that asks for nothing."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at once."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "hello\n"


class Kernel:
    """One job, on the lane that the server was started with."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run ``name`` with ``n``."""
        kernel = jobs.KERNELS.get(req.get_param("name", required=True))
        if kernel is None:
            raise falcon.HTTPNotFound(description=f"there are {', '.join(jobs.KERNELS)}")
        n = req.get_param_as_int("n", required=True, min_value=1, max_value=10_000_000)
        resp.media = {"result": await hybrid.submit(kernel, n)}


class Cross:
    """A payload there and back, again and again."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the seconds of each of ``times`` crossings of ``bytes`` on ``lane``.

        With ``back=false`` the payload only goes there.
        """
        payload, lane = _payload(req), _lane(req)
        times = req.get_param_as_int("times", default=20, min_value=1, max_value=10_000)
        job = jobs.negative if req.get_param_as_bool("back", default=True) else jobs.first
        found = []
        for _ in range(times + 1):
            began = time.perf_counter()
            await hybrid.submit(job, payload, lane=lane)
            found.append(time.perf_counter() - began)
        resp.media = found[1:]  # the first one starts the process and touches its pages


class Pair:
    """Two jobs of pure Python at once: where it pays to cross."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the seconds that two jobs of ``n`` steps take together, ``times`` times."""
        payload, lane = _payload(req), _lane(req)
        n = req.get_param_as_int("n", required=True, min_value=1, max_value=10_000_000)
        times = req.get_param_as_int("times", default=20, min_value=1, max_value=10_000)
        found = []
        for _ in range(times + 1):
            began = time.perf_counter()
            both = (hybrid.submit(jobs.spin, payload, n, lane=lane) for _ in range(2))
            await asyncio.gather(*both)
            found.append(time.perf_counter() - began)
        resp.media = found[1:]


def _payload(req: falcon.Request) -> np.ndarray[Any, np.dtype[np.float64]]:
    size = req.get_param_as_int("bytes", default=8, min_value=8, max_value=LONGEST)
    return np.ones(size // 8)


def _lane(req: falcon.Request) -> Any:
    lane = req.get_param("lane", default="process")
    if lane not in LANES:
        raise falcon.HTTPInvalidParam(f"one of {', '.join(LANES)}", "lane")
    return lane


app = falcon.asgi.App()
hybrid.install(app)
app.add_route("/hello", Hello())
app.add_route("/kernel", Kernel())
app.add_route("/cross", Cross())
app.add_route("/pair", Pair())
