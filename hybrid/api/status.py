"""``/status``: the whole cluster, from any worker."""

from __future__ import annotations

import falcon

from hybrid.api.view import current_view


class Status:
    """Workers, pools and counters, read off the scoreboard."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the status as JSON."""
        resp.media = current_view().status()

    on_head = on_get
