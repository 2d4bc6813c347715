"""The endpoint of the row "IPC": what a message between the processes costs."""

from __future__ import annotations

import falcon

import hybrid
import hybrid.cluster
from workloads.parameters import whole


class Ping:
    """A message to another process and back."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ping ``to`` (primary, leader or a slot number), ``n`` times one after the other."""
        asked = req.get_param("to") or "primary"
        is_slot = asked.isdecimal() and len(asked) < 10
        to: int | str = int(asked) if is_slot else asked
        n = whole(req, "n", 1, 1, 10_000)
        try:
            times = [await hybrid.cluster.ping(to) for _ in range(n)]
        except (hybrid.NoSuchWorker, hybrid.NotInCluster) as ex:
            raise falcon.HTTPNotFound(description=str(ex)) from ex
        except hybrid.NoReply as ex:
            raise falcon.HTTPGatewayTimeout(description=str(ex)) from ex
        mean = sum(times) / n * 1e3
        resp.set_header("Server-Timing", f"ipc;dur={mean:.4f}")
        resp.media = {
            "to": to,
            "n": n,
            "from": hybrid.cluster.slot(),
            "mean_ms": round(mean, 4),
            "min_ms": round(min(times) * 1e3, 4),
            "max_ms": round(max(times) * 1e3, 4),
        }
