"""`Middleware`: hybrid's manners for any ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from hybrid.api.job_answers import answer_to, id_in_scope, server_timing
from hybrid.core.departure import Departure, current_departure
from hybrid.errors import JobError

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Middleware:
    """Wraps an ASGI application: ``app = hybrid.Middleware(app)``.

    A job error that the application lets through becomes the job's HTTP status, as long as the
    answer has not begun; a WebSocket is closed with 3000 and the status. Answers of requests that
    ran jobs carry ``Server-Timing``. Everything else passes.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Run the application."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        watched = _Watched(send, departure_here())
        try:
            await self.app(scope, receive, watched.send)
        except JobError as ex:
            if watched.has_ended or (watched.has_begun and scope["type"] == "http"):
                raise
            if scope["type"] == "http":
                await answer_in_place(scope, watched.send, ex)
            else:
                code = 3000 + answer_to(ex, id_in_scope(scope)).status
                await send({"type": "websocket.close", "code": code})


async def answer_in_place(scope: MutableMapping[str, Any], send: Send, error: JobError) -> None:
    """Send the answer to an HTTP request whose job has no result."""
    request_id = id_in_scope(scope)
    answer = answer_to(error, request_id)
    body = answer.body(request_id)
    lines = {**answer.headers(), "Content-Length": str(len(body))}
    headers = [(name.lower().encode(), value.encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def departure_here() -> Departure:
    """Return the departure of this request; begin one where no server of ours has."""
    departure = current_departure.get()
    if departure is None:
        departure = Departure()
        current_departure.set(departure)
    return departure


def timing_line(departure: Departure | None, began: float) -> tuple[bytes, bytes] | None:
    """Return the ``Server-Timing`` header of a request that has run jobs.

    Args:
        departure: of the request.
        began: when the request did, by `time.perf_counter`.
    """
    if departure is None or not departure.times:
        return None
    value = server_timing(departure.times, perf_counter() - began)
    return b"server-timing", value.encode()


class _Watched:
    """The server's send, and what has gone through it."""

    def __init__(self, send: Send, departure: Departure) -> None:
        self._send, self._departure = send, departure
        self._began = perf_counter()
        self.has_begun = self.has_ended = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.has_begun = True
            line = timing_line(self._departure, self._began)
            if line is not None:
                message = {**message, "headers": [*message.get("headers", ()), line]}
        elif kind in ("websocket.close", "websocket.http.response.start"):
            self.has_ended = True
        await self._send(message)
