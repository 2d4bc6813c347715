"""The application that every server here runs: Falcon, four routes, no work."""

from __future__ import annotations

import os
from typing import Any

import falcon.asgi
import orjson

HELLO = f"Hello from worker {os.getpid()}"
DOCUMENT = {"items": [{"id": n, "name": f"item {n}", "price": n * 1.25} for n in range(21)]}
MEGABYTE = b"x" * 2**20


class Hello:
    """The article's example: a few words of text."""

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = HELLO


class Json:
    """About 1 KB of JSON, out by orjson and in by orjson."""

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = orjson.dumps(DOCUMENT)

    async def on_post(self, req: Any, resp: Any) -> None:
        document = orjson.loads(await req.stream.read())
        resp.content_type = falcon.MEDIA_JSON
        resp.data = orjson.dumps({"items": len(document["items"])})


class Megabyte:
    """1 MB down, 1 MB up."""

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = "application/octet-stream"
        resp.data = MEGABYTE

    async def on_post(self, req: Any, resp: Any) -> None:
        size = 0
        async for piece in req.stream:
            size += len(piece)
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = str(size)


app = falcon.asgi.App()
app.add_route("/hello", Hello())
app.add_route("/json", Json())
app.add_route("/megabyte", Megabyte())
