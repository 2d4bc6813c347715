"""``/metrics``: the whole cluster for Prometheus, from any worker."""

from __future__ import annotations

import falcon

from hybrid.api.view import current_view

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and gauges of every worker, living or gone."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer them in Prometheus' text format."""
        resp.content_type = CONTENT_TYPE
        resp.text = current_view().metrics()

    on_head = on_get
