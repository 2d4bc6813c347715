"""One line per request on stdout, gathered and written in blocks.

A call of `logging` costs some 10 µs, as much as the whole connection. So lines
are formatted here and written every second, when a block is full, and at the
end of a drain. Lines that a killed worker has not written are lost.

Text is the combined format with four fields behind it: duration, queue and run
time of the request's jobs (milliseconds), and the request id.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from time import localtime, strftime, time
from typing import Any, Protocol

import orjson

from hybrid.core.departure import Departure
from hybrid.http.request.message import Request
from hybrid.http.request.refusal import Refused

# Asked every second: by probes, and by the front page for its picture of the cluster.
_UNLOGGED = frozenset({"/metrics", "/healthz", "/livez", "/readyz", "/status"})
_BLOCK = 256  # lines
Write = Callable[[str], None]

# What may not stand in a field: the quote, the escape character, what is not printable ASCII.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 34, 92, *range(127, 256))}


def write_to_stdout(text: str) -> None:
    """Write whole lines; lose them if the reader of stdout has ended."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(text)
        sys.stdout.flush()


class LoggedExchange(Protocol):
    """What the log asks of an exchange that has ended."""

    request: Request  # never the scope: that is the application's to change
    request_id: str
    status: int
    sent: int  # bytes of body
    departure: Departure


class AccessLog:
    """Formats a line per request, and keeps the lines until `flush`."""

    __slots__ = ("_is_json", "_lines", "_second", "_stamp", "_worker", "_write")

    def __init__(self, log_format: str, worker: str, write: Write = write_to_stdout) -> None:
        self._is_json = log_format == "json"
        self._worker = worker
        self._write = write
        self._lines: list[str] = []
        self._second = -1
        self._stamp = ""

    def write(
        self, exchange: LoggedExchange, client: tuple[str, int] | None, seconds: float
    ) -> None:
        """Add the line of an exchange that has ended after `seconds`."""
        request = exchange.request
        if request.path in _UNLOGGED:
            return
        queue = run = 0.0
        times = exchange.departure.times
        if times:
            queue = sum(t.queue_s for t in times) * 1e3
            run = sum(t.run_s for t in times) * 1e3
        peer = request.client or client
        self._add(
            peer[0] if peer else "-",
            request,
            exchange.status,
            exchange.sent,
            seconds * 1e3,
            queue,
            run,
            exchange.request_id,
        )

    def write_refusal(
        self,
        refusal: Refused,
        request_id: str,
        request: Request | None,
        client: tuple[str, int] | None,
        sent: int,
    ) -> None:
        """Add the line of a request that the application has not seen."""
        peer = client[0] if client else "-"
        self._add(peer, request, refusal.status, sent, 0.0, 0.0, 0.0, request_id)

    def flush(self) -> None:
        """Write the lines that are kept, in one block."""
        if self._lines:
            self._lines.append("")
            block, self._lines = "\n".join(self._lines), []
            self._write(block)

    def _add(
        self,
        host: str,
        request: Request | None,
        status: int,
        sent: int,
        took: float,
        queue: float,
        run: float,
        request_id: str,
    ) -> None:
        method, target, version, referer, agent = "-", "-", "-", "-", "-"
        if request is not None and request.method:
            method, version = request.method, request.http_version
            target = _clean(request.target)
            referer = _clean(request.header(b"referer"))
            agent = _clean(request.header(b"user-agent"))
        if self._is_json:
            line = orjson.dumps(
                {
                    "ts": round(time(), 3),
                    "worker": self._worker,
                    "request_id": request_id,
                    "client": host,
                    "method": method,
                    "path": target,
                    "status": status,
                    "bytes": sent,
                    "dt_ms": round(took, 3),
                    "queue_ms": round(queue, 3),
                    "cpu_ms": round(run, 3),
                    "referer": referer,
                    "user_agent": agent,
                }
            ).decode()
        else:
            line = (
                f'{host} - - [{self._now()}] "{method} {target} HTTP/{version}" {status} {sent} '
                f'"{referer}" "{agent}" {took:.2f} {queue:.2f} {run:.2f} {request_id} '
                f"{self._worker}"
            )
        self._lines.append(line)
        if len(self._lines) >= _BLOCK:
            self.flush()

    def _now(self) -> str:
        second = int(time())
        if second != self._second:
            self._second = second
            self._stamp = strftime("%d/%b/%Y:%H:%M:%S %z", localtime(second))
        return self._stamp


def _clean(value: Any) -> str:
    """Return bytes of the client as text that cannot pass for another field or line."""
    if value is None:
        return "-"
    text: str = value.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.translate(_ESCAPES)
