from __future__ import annotations

from typing import Any

import falcon

import hybrid
from tests.integrations.apps import jobs


class Routes:
    def on_get_square(self, req: Any, resp: Any) -> None:
        resp.text = str(hybrid.run(jobs.square, req.get_param_as_int("n")))

    def on_get_fail(self, req: Any, resp: Any) -> None:
        hybrid.run(jobs.fail)

    def on_get_late(self, req: Any, resp: Any) -> None:
        hybrid.run(jobs.square, 2, deadline=0.0)

    def on_get_hold(self, req: Any, resp: Any) -> None:
        hybrid.run(jobs.hold, req.get_param("path"))

    def on_get_die(self, req: Any, resp: Any) -> None:
        hybrid.run(jobs.die)

    def on_post_npy(self, req: Any, resp: Any) -> None:
        resp.media = hybrid.run(jobs.double, req.get_media())
        resp.content_type = "application/x-npy"

    def on_get_events(self, req: Any, resp: Any) -> None:
        resp.content_type = "text/event-stream"
        resp.stream = jobs.events_of_a_thread()

    def on_post_stream(self, req: Any, resp: Any) -> None:
        def pieces() -> Any:
            while piece := req.stream.readline():
                yield piece.upper()

        resp.stream = pieces()


app = falcon.App()
hybrid.install(app)
for name in ("square", "fail", "late", "hold", "die", "npy", "events", "stream"):
    app.add_route(f"/{name}", Routes(), suffix=name)
