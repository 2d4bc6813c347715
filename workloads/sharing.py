"""The endpoints of the row "shared state": what all workers see alike."""

from __future__ import annotations

import os

import falcon

import hybrid

state = hybrid.state("demonstration")


class SharedCounter:
    """A number in shared state: all workers count together."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Count this request."""
        slot = hybrid.current_view().topology().get("worker")
        count = await state.incr("counter")
        resp.media = {"counter": count, "pid": os.getpid(), "worker": slot}
