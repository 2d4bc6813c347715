"""The parser's callbacks: they fill requests, and refuse what llhttp lets through.

What llhttp 9 refuses by itself (a test checks that, because another release
may be more lenient): bare CR and LF inside the head, obs-fold, invalid names,
space before the colon, repeated or conflicting Content-Length, Content-Length
with Transfer-Encoding, chunked not last, sizes that are not hexadecimal numbers.

What it lets through and is refused here: versions 0.9 and 2.0, RTSP and ICE,
more than one space in the request line, a transfer coding before ``chunked``,
Transfer-Encoding in HTTP/1.0, a missing or repeated Host or one that names no
host, other headers that may not come twice, a fragment in the target, and every
limit.

Rule: a callback of the parser starts nothing. A callback that raises ends the
parsing, and the reader parses no byte after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

from hybrid.config import HttpConfig
from hybrid.http.request.message import Request, names_a_host
from hybrid.http.request.refusal import Refused

_EXCESS = 16 * 1024  # bytes of chunk framing above what is forgiven; as Go's net/http
_FORGIVEN = 16  # bytes of framing per chunk that cost nothing

_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}


def _other_method(name: bytes) -> str:
    if name == b"CONNECT":
        raise Refused(501, "this server is not a proxy")
    return name.decode("ascii")


_SPACE = 32  # of what llhttp lets into a value, only SP and HTAB are not above it

_TOO_LONG = "the request line is over {} bytes (--max-request-line)"
_TOO_BIG = "the header lines are over {} bytes (--max-header-bytes)"
_TOO_MANY = "there are more than {} header lines (--max-headers)"
_TOO_LARGE = "the body is over {} bytes (--max-body)"

# -- what headers say to the server itself --------------------------------------------


def _length(request: Request, value: bytes) -> None:
    try:
        request.content_length = int(value)  # llhttp has checked that it is a number
    except ValueError:  # over Python's limit of 4300 digits: llhttp refuses that unless most are 0
        raise Refused(400, "a Content-Length of thousands of digits") from None


def _coding(request: Request, value: bytes) -> None:
    if value.lower() != b"chunked":
        raise Refused(400, "the only transfer coding here is chunked")
    request.content_length = -1


def _expectation(request: Request, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise Refused(417, "the only expectation here is 100-continue")
    request.expects_continue = True


def _upgrade(request: Request, value: bytes) -> None:
    request.websocket = value.lower() == b"websocket"


def _forwarded_for(request: Request, value: bytes) -> None:
    request.is_forwarded = True
    before = request.forwarded_for  # several lines make one list
    request.forwarded_for = value if before is None else before + b"," + value


def _forwarded_proto(request: Request, value: bytes) -> None:
    request.is_forwarded = True
    request.forwarded_proto = value


def _request_id(request: Request, value: bytes) -> None:
    request.request_id = value


# A second one changes what the request means, and programs differ in which one they use: a
# framework the first or the last, a gateway or cache in front of it the other. nginx also
# refuses some of them. Not here: lists, which may come in several lines (RFC 9110 section 5.3:
# If-Match, Accept, Cookie by custom), and headers that only inform (Referer, User-Agent, Date).
_SINGLE = (
    b"authorization",  # whose request it is
    b"proxy-authorization",
    b"origin",  # which site it comes from: checks of cross-site requests rest on it
    b"content-type",  # how the body is read
    b"content-range",  # where the body is written
    b"range",  # which part is asked for, and on which condition
    b"if-range",
    b"if-modified-since",
    b"if-unmodified-since",
)


def _single(name: bytes, bit: int) -> Callable[[Request, bytes], None]:
    def refuse_second(request: Request, value: bytes) -> None:
        if request.singles & bit:
            raise Refused(400, f"more than one {name.decode().title()} header")
        request.singles |= bit

    return refuse_second


_HANDLERS = {
    b"content-length": _length,
    b"transfer-encoding": _coding,
    b"expect": _expectation,
    b"upgrade": _upgrade,
    b"x-forwarded-for": _forwarded_for,
    b"x-forwarded-proto": _forwarded_proto,
    b"x-request-id": _request_id,
    **{name: _single(name, 1 << number) for number, name in enumerate(_SINGLE)},
}


class RequestAssembler:
    """The target of the parser's callbacks.

    `current` is the request being read, its head or its body; `ready` holds
    those whose head is complete and whose turn has not come; `ended` is true
    once no further request may come.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_host",
        "_limits",
        "_parser",
        "_piece",
        "_small",
        "current",
        "ended",
        "ready",
    )

    def __init__(self, limits: HttpConfig) -> None:
        self._limits = limits
        # A head of at most this many bytes is within both limits, whatever is in it.
        self._small = min(limits.max_request_line, limits.max_header_bytes)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._piece = b""  # what the parser is reading
        self._body = 0  # bytes of body that the current piece brought
        self._chunks = 0  # chunks that it began
        self._host: bytes | None = None  # the last one that passed: nearly always it comes again
        self.current: Request | None = None
        self.ready: list[Request] = []
        self.ended = False

    def on_url(self, data: bytes) -> None:
        """Append a piece of the request target."""
        request = self.current
        if request is not None and not request.method:
            request.target += data

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header line, or count a trailer's."""
        request = self.current
        if request is None:
            return
        if request.method:  # a trailer: counted and ignored (RFC 9110 section 6.5.1 allows it)
            request.size += len(name) + len(value) + 4
            if request.size > self._limits.max_header_bytes + self._limits.max_request_line:
                raise Refused(431, _TOO_BIG.format(self._limits.max_header_bytes))
            return
        name = name.lower()
        if value and value[-1] <= _SPACE:  # llhttp leaves the blanks behind a value
            value = value.rstrip(b" \t")
        headers = request.headers
        headers.append((name, value))
        if len(headers) > self._limits.max_headers:
            raise Refused(431, _TOO_MANY.format(self._limits.max_headers))
        if name == b"host":
            request.hosts += 1
            if value != self._host:
                self._check_host(value)
        elif name in _HANDLERS:
            _HANDLERS[name](request, value)

    def _check_host(self, value: bytes) -> None:
        if not names_a_host(value):
            raise Refused(400, "the Host header names no host")
        self._host = value

    def on_headers_complete(self) -> None:
        """Check the complete head, and queue the request."""
        request = self.current
        if request is None or request.method:
            return
        parser = self._parser
        if request.size > self._small:
            self._check_sizes(request)
        method = parser.get_method()
        # Comparing the bytes costs a quarter of asking the parser for the version.
        at = len(method) + 1 + len(request.target)
        if not self._piece.startswith(b" HTTP/1.1\r\n", at):
            self._check_line(request, at, parser.get_http_version())
        if request.hosts != 1 and request.http_version == "1.1":
            raise Refused(400, "HTTP/1.1 demands exactly one Host header")
        if request.content_length > self._limits.max_body > 0:
            raise Refused(413, _TOO_LARGE.format(self._limits.max_body))
        request.method = _METHODS.get(method) or _other_method(method)
        request.locate()
        if not parser.should_keep_alive():
            request.keep_alive = False
        if request.websocket:
            is_1_1 = request.http_version == "1.1"
            request.websocket = method == b"GET" and is_1_1 and parser.should_upgrade()
        self.ready.append(request)

    def _check_sizes(self, request: Request, *, line_ended: bool = True) -> None:
        """Refuse a head, complete or not, whose request line or headers are too long."""
        limits = self._limits
        # 14: the shortest rest of the line, "GET  HTTP/1.1\r\n" without the method's name.
        too_long = len(request.target) + 14 > limits.max_request_line
        if too_long or (not line_ended and request.size > limits.max_request_line):
            self._refuse(414, _TOO_LONG.format(limits.max_request_line))
        size = sum(len(name) + len(value) + 4 for name, value in request.headers)
        too_big = request.size > limits.max_header_bytes + limits.max_request_line
        if size > limits.max_header_bytes or too_big:
            self._refuse(431, _TOO_BIG.format(limits.max_header_bytes))

    def _refuse(self, status: int, detail: str) -> None:
        self.ended = True
        raise Refused(status, detail)

    def _check_line(self, request: Request, at: int, version: str) -> None:
        """Check what stands behind the target, at `at`; llhttp reports only the version."""
        if version not in ("1.1", "1.0"):
            raise Refused(505, "this server speaks HTTP/1.0 and HTTP/1.1")
        line = request.line + self._piece
        if not line.startswith(b" HTTP/%b\r\n" % version.encode(), at):
            raise Refused(400, "the request line is not: method, target, HTTP/1.1")
        request.line = b""
        if version == "1.1":
            return  # the head came in pieces
        if request.content_length < 0:
            raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
        if request.hosts > 1:
            raise Refused(400, "more than one Host header")
        request.http_version = version
        request.expects_continue = False  # RFC 9110 section 10.1.1

    def on_body(self, data: bytes) -> None:
        """Add a piece of a body that comes in chunks."""
        request = self.current
        if request is None:
            return
        size = len(data)
        self._body += size
        request.taken += size
        limit = self._limits.max_body
        if request.taken > limit > 0:
            raise Refused(413, _TOO_LARGE.format(limit))
        request.add_body(data)

    def on_chunk_header(self) -> None:
        """Count a chunk.

        Its announced size is unknown here: httptools does not pass it on. Nothing
        is reserved for it; the bytes are counted when they come.
        """
        self._chunks += 1

    def _limit_chunk_framing(self, request: Request) -> None:
        """Refuse a body of much more chunk framing than bytes.

        llhttp skips chunk extensions and trailers, and reports a chunk of one byte
        like any other. Without this limit a client could keep the parser busy
        without end and never reach the limit on the body. A byte of body justifies
        two of framing, and each chunk 16 more.
        """
        excess = request.excess + len(self._piece) - 3 * self._body - _FORGIVEN * self._chunks
        request.excess = max(0, excess)
        if excess > _EXCESS:
            self._refuse(400, "more chunk framing than body")

    def on_message_complete(self) -> None:
        """End the request: its body is complete."""
        request = self.current
        if request is None or not request.method:
            return
        if request.content_length:
            if request.content_length > request.taken:
                return  # its body is still to be counted
            if request.content_length < 0:
                self._limit_chunk_framing(request)  # `_limit_unfinished` skips ended requests
        request.ended = True
        self.current = None
        self._piece = b""  # an idle connection keeps nothing of its last request
        if not request.keep_alive:
            self.ended = True
