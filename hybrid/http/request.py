"""What every request gets, whatever the application: an id, a body limit, a log line."""

from __future__ import annotations

import re
import sys
import time
import uuid
from typing import Any

import orjson

from hybrid.config import HttpConfig, LogConfig

_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_UNLOGGED = frozenset({"/metrics", "/healthz", "/livez", "/readyz"})


class Counts:
    """Requests of this worker, by outcome."""

    def __init__(self) -> None:
        self.total = self.active = self.responses_4xx = self.responses_5xx = 0


class RequestFrame:
    """ASGI wrapper around the application."""

    def __init__(
        self,
        app: Any,
        settings: HttpConfig,
        headers: list[tuple[bytes, bytes]],
        log: LogConfig,
        counts: Counts,
    ) -> None:
        self._app = app
        self._settings = settings
        self._headers = headers
        self._log = AccessLog(log) if log.access else None
        self._counts = counts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._headers, self._settings.max_body)
        counts = self._counts
        counts.active += 1
        began = time.perf_counter()
        try:
            if exchange.declares_too_much():
                await exchange.refuse_body()
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            counts.active -= 1
            counts.total += 1
            counts.responses_4xx += 400 <= exchange.status < 500
            counts.responses_5xx += exchange.status >= 500
            if self._log is not None and scope["path"] not in _UNLOGGED:
                self._log.write(scope, exchange, time.perf_counter() - began)


class Exchange:
    """One request and its answer, between the application and the connection."""

    def __init__(
        self, scope: Any, receive: Any, send: Any, headers: list[tuple[bytes, bytes]], limit: int
    ) -> None:
        self.status = 499  # until an answer begins: the client went away first
        self.bytes = 0
        self.id = _request_id(scope["headers"])
        scope.setdefault("state", {})["request_id"] = self.id.decode()
        self._headers = [*headers, (b"x-request-id", self.id)]
        self._scope, self._receive, self._send = scope, receive, send
        self._limit = limit
        self._taken = 0
        self._refused = False

    def declares_too_much(self) -> bool:
        """Return whether Content-Length is over the limit."""
        if not self._limit:
            return False
        return any(
            name == b"content-length" and value.isdigit() and int(value) > self._limit
            for name, value in self._scope["headers"]
        )

    async def receive(self) -> Any:
        """Pass on a piece of the body; over the limit the request ends here."""
        message = await self._receive()
        if message["type"] == "http.request" and self._limit and not self._refused:
            self._taken += len(message.get("body", b""))
            if self._taken > self._limit:
                await self.refuse_body()
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Any) -> None:
        """Pass on a piece of the answer, unless the request was refused already."""
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse_body(self) -> None:
        """Answer 413 and close: the rest of the body is not read."""
        body = orjson.dumps(
            {
                "type": "about:blank",
                "title": "Content Too Large",
                "status": 413,
                "detail": f"the body is over the limit of {self._limit} bytes (--max-body)",
                "request_id": self.id.decode(),
            }
        )
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 413, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
        self._refused = True


class AccessLog:
    """One line per request on stdout, gathered and written in blocks."""

    def __init__(self, settings: LogConfig) -> None:
        self._json = settings.format == "json"

    def write(self, scope: Any, exchange: Exchange, took: float) -> None:
        """Add a line; a reader of stdout that is gone is not our fault."""
        times = scope.get("extensions", {}).get("hybrid.times") or []
        queue = sum(t.queue_s for t in times) * 1e3
        run = sum(t.run_s for t in times) * 1e3
        client = (scope.get("client") or ("-",))[0]
        target = scope["path"] + (
            f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        )
        if self._json:
            line = orjson.dumps(
                {
                    "ts": round(time.time(), 3),
                    "request_id": exchange.id.decode(),
                    "client": client,
                    "method": scope["method"],
                    "path": target,
                    "status": exchange.status,
                    "bytes": exchange.bytes,
                    "dt_ms": round(took * 1e3, 3),
                    "queue_ms": round(queue, 3),
                    "run_ms": round(run, 3),
                }
            ).decode()
        else:
            stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z")
            target = target.replace('"', "%22").encode("unicode_escape").decode()
            line = (
                f'{client} - - [{stamp}] "{scope["method"]} {target} HTTP/{scope["http_version"]}" '
                f"{exchange.status} {exchange.bytes} {took * 1e3:.1f}ms queue={queue:.1f} "
                f"run={run:.1f} id={exchange.id.decode()}"
            )
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass


def _request_id(headers: Any) -> bytes:
    for name, value in headers:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return bytes(value)
    return uuid.uuid4().hex.encode()
