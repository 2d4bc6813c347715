"""A WSGI application as an ASGI application.

Why no library: of the two that there are, asgiref's adapter gathers every upload before the
application sees it, runs one request at a time, and never closes the iterable; a2wsgi's leaves
a thread waiting for good when a client goes in the middle of a long answer, takes a cut upload
for a whole one, has no bound for waiting requests, joins ``X_Forwarded_For`` to
``X-Forwarded-For``, and needs three trips between thread and loop for the shortest answer.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

from hybrid.core.departure import Departure, current_departure
from hybrid.http.problem import PROBLEM_JSON, problem
from hybrid.wsgi.environ import environ_of
from hybrid.wsgi.request_threads import RequestThreads
from hybrid.wsgi.wsgi_request import ROOM, BodyStream, Receive, Send, WsgiRequest


class WsgiApplication:
    """Runs a WSGI application on threads of its worker, for hybrid's server."""

    def __init__(
        self,
        app: Callable[..., Any],
        loop: asyncio.AbstractEventLoop,
        *,
        threads: int,
        queue: int,
    ) -> None:
        """Start no thread yet.

        Args:
            app: takes environ and start_response.
            loop: the worker's event loop.
            threads: requests that it handles at once.
            queue: requests that may wait; more are answered with 503.
        """
        self._app, self._loop = app, loop
        self._queue = queue
        self.threads = RequestThreads(threads, queue, loop)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Handle a request, or the lifespan; a WebSocket is refused with 403."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        environ = environ_of(scope, is_multithreaded=self.threads.most > 1)
        body = await self._body(environ, receive)
        if body is None:
            return
        if not self.threads.has_room:
            await self._refuse(scope, send)
            return
        environ["wsgi.input"] = body
        departure = current_departure.get() or Departure()
        request = WsgiRequest(self._app, environ, departure, self.threads)
        self.threads.submit(request)
        await request.deliver(send)

    async def _body(self, environ: dict[str, Any], receive: Receive) -> Any:
        """Return the body as a file; None: the client has left.

        A short one is waited for here: a slow client must not hold a thread. The rest of a
        long one, or of one without a length, is read when the application reads it.
        """
        if "HTTP_EXPECT" in environ:  # the client sends nothing before the application reads
            return io.BufferedReader(BodyStream(b"", receive, self._loop), ROOM)
        wanted = int(environ.get("CONTENT_LENGTH") or 0)
        pieces: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return io.BytesIO(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if not 0 < wanted <= ROOM:
                rest = BodyStream(b"".join(pieces), receive, self._loop)
                return io.BufferedReader(rest, ROOM)

    async def _refuse(self, scope: dict[str, Any], send: Send) -> None:
        detail = f"{self._queue} requests wait for a thread already (--wsgi-queue)"
        body = problem(503, "Service Unavailable", detail, scope["state"]["request_id"])
        head = [(b"content-type", PROBLEM_JSON.encode()), (b"retry-after", b"1")]
        await send({"type": "http.response.start", "status": 503, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Speak the lifespan protocol, which a WSGI application does not have."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.threads.close()
        await send({"type": "lifespan.shutdown.complete"})
