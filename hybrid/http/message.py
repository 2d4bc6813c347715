"""A request as it came from the wire: its head, its body so far, its ASGI scope.

Target forms (RFC 9112 section 3.2) are settled here; the security of the head
is `reader`'s.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from hybrid.http.refusal import Refused

Header = tuple[bytes, bytes]


class Request:
    """One request, filled by the reader, drained by the exchange.

    `chunks` and `buffered` are the part of the body nobody has taken yet;
    `ended` says whether its last byte has come.
    """

    __slots__ = (
        "buffered",
        "chunks",
        "content_length",
        "ended",
        "expects_continue",
        "forwarded_for",
        "forwarded_proto",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "referer",
        "request_id",
        "taken",
        "target",
        "user_agent",
        "websocket",
    )

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.target = b""
        self.method = ""
        self.http_version = "1.1"
        self.keep_alive = True
        self.content_length = 0  # as declared; -1: chunked
        self.expects_continue = False
        self.websocket = False
        self.request_id: bytes | None = None
        self.forwarded_for: bytes | None = None
        self.forwarded_proto: bytes | None = None
        self.referer: bytes | None = None
        self.user_agent: bytes | None = None
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.taken = 0  # bytes of the body that have come in all
        self.ended = False

    def add_body(self, data: bytes) -> None:
        """Take a piece of the body from the wire."""
        self.chunks.append(data)
        self.buffered += len(data)

    def take_body(self) -> bytes:
        """Return everything that is buffered, and forget it."""
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.chunks = []
        self.buffered = 0
        return body

    def locate(self, root_path: str) -> tuple[str, bytes, bytes]:
        """Return path (percent-decoded), raw path and query string.

        In absolute-form the authority replaces the Host header (RFC 9112
        section 3.2.2).

        Raises:
            Refused: the target has a form that this method may not use.
        """
        target = self.target
        if target[:1] != b"/":
            target = self._other_form(target)
        raw, _, query = target.partition(b"?")
        if b"%" in raw:
            path = unquote_to_bytes(raw).decode("utf-8", "replace")
        else:
            path = raw.decode("ascii")
        return (root_path + path if root_path else path), raw, query

    def _other_form(self, target: bytes) -> bytes:
        if target == b"*":
            if self.method != "OPTIONS":
                raise Refused(400, "the target * is for OPTIONS only")
            return target
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in (b"http", b"https", b"ws", b"wss"):
            raise Refused(400, "the request target is neither a path nor an http URL")
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, path = rest[:end], rest[end:]
        if not authority or b"@" in authority:
            raise Refused(400, "the request target has no usable authority")
        self.headers = [
            (name, authority if name == b"host" else value) for name, value in self.headers
        ]
        return path if path[:1] == b"/" else b"/" + path

    def scope(
        self, client: tuple[str, int] | None, server: tuple[str, int | None] | None, scheme: str
    ) -> dict[str, Any]:
        """Return what http and websocket scopes have in common, paths excepted."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self.http_version,
            "method": self.method,
            "scheme": scheme,
            "headers": self.headers,
            "client": client,
            "server": server,
        }
