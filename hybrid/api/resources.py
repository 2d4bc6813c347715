"""Resources of hybrid for a Falcon application: health, metrics, status."""

from __future__ import annotations

import falcon

from hybrid.api.view import current_view


class Status:
    """``/status``: workers, pools and counters of the whole cluster, from any worker."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the status as JSON."""
        resp.media = current_view().status()

    on_head = on_get


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """``/metrics``: counters and gauges of all workers, also of those that have ended."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer in Prometheus' text format."""
        resp.content_type = CONTENT_TYPE
        resp.text = current_view().metrics()

    on_head = on_get


class Live:
    """``/livez``: this worker's event loop answers; no other process is asked."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200."""
        resp.media = {"status": "alive"}

    on_head = on_get


class Ready:
    """``/readyz``: this worker has its application and pool, and is not draining."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, or 503 and the reason; with ``verbose`` also the states of all workers."""
        view = current_view()
        ready = view.ready()
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503
        resp.media = {"status": "ready" if ready else view.why_not_ready()}
        if req.get_param_as_bool("verbose", blank_as_true=True):
            workers = view.status()["workers"]
            resp.media |= {
                "worker": view.topology()["worker"],
                "workers": {str(worker["slot"]): worker["state"] for worker in workers},
            }

    on_head = on_get
