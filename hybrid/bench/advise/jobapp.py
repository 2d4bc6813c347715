"""Functions as endpoints: what `hybrid advise --job … --verify` serves and asks.

Runs in the workers of a server under test. `GET /job/K` runs the K-th function of
the environment variable; `GET /light` is the light I/O that the model adds to them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import falcon.asgi

import hybrid

JOBS = "HYBRID_ADVISE_JOBS"  # module:function, separated by spaces
LIGHT_WAIT = 0.02  # s


class Light:
    """Waits for a pretended upstream."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer after 20 ms."""
        await asyncio.sleep(LIGHT_WAIT)
        resp.text = "light"


class JobEndpoint:
    """Runs a function in the pool; its result is not sent, whatever it is."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.job = hybrid.job(function)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer when the job is done."""
        await hybrid.submit(self.job)
        resp.text = "done"


def named(target: str) -> Callable[[], Any]:
    """Return the function that ``module:function`` names."""
    module, _, name = target.partition(":")
    function: Callable[[], Any] = getattr(import_module(module), name)
    return function


def create(targets: list[str]) -> falcon.asgi.App[Any, Any]:
    """Return the application of these functions."""
    made = falcon.asgi.App()
    hybrid.install(made)
    made.add_route("/light", Light())
    for index, target in enumerate(targets):
        made.add_route(f"/job/{index}", JobEndpoint(named(target)))
    return made


app = create(os.environ.get(JOBS, "").split())
