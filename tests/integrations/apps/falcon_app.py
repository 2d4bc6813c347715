from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi

import hybrid
from tests.integrations.apps import jobs


class Routes:
    async def on_get_square(self, req: Any, resp: Any) -> None:
        resp.text = str(await hybrid.submit(jobs.square, req.get_param_as_int("n")))

    async def on_get_fail(self, req: Any, resp: Any) -> None:
        await hybrid.submit(jobs.fail)

    async def on_get_late(self, req: Any, resp: Any) -> None:
        await hybrid.submit(jobs.square, 2, deadline=0.0)

    async def on_get_hold(self, req: Any, resp: Any) -> None:
        await hybrid.submit(jobs.hold, req.get_param("path"))

    async def on_get_die(self, req: Any, resp: Any) -> None:
        await hybrid.submit(jobs.die)

    async def on_post_npy(self, req: Any, resp: Any) -> None:
        resp.media = await hybrid.submit(jobs.double, await req.get_media())
        resp.content_type = "application/x-npy"

    async def on_get_events(self, req: Any, resp: Any) -> None:
        resp.content_type = "text/event-stream"
        resp.stream = jobs.events()

    async def on_get_state(self, req: Any, resp: Any) -> None:
        resp.text = req.scope["state"]["greeting"]

    async def on_post_stream(self, req: Any, resp: Any) -> None:
        async def pieces() -> Any:
            async for piece in req.stream:
                yield piece.upper()

        resp.stream = pieces()

    async def on_websocket_echo(self, req: Any, ws: Any) -> None:
        await ws.accept()
        while True:
            try:
                text = await ws.receive_text()
            except falcon.WebSocketDisconnected:
                return
            if text == "late":
                await hybrid.submit(jobs.square, 2, deadline=0.0)
            await ws.send_text(text.upper())


class Start:
    async def process_startup(self, scope: Any, event: Any) -> None:
        scope["state"]["greeting"] = "hello"


app = falcon.asgi.App(middleware=[Start()])
hybrid.install(app)
for name in ("square", "fail", "late", "hold", "die", "npy", "events", "state", "stream", "echo"):
    app.add_route(f"/{name}", Routes(), suffix=name)
