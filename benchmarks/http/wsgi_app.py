"""The WSGI half of the comparison: Falcon's classic application, one route."""

from __future__ import annotations

from typing import Any

import falcon

from benchmarks.http.app import HELLO


class HelloOfAThread:
    """The article's example: a few words of text."""

    def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = HELLO


app = falcon.App()
app.add_route("/hello", HelloOfAThread())
