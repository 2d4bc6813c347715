"""Bytes to requests: llhttp behind the checks it leaves to its user.

Sans-I/O: `feed` takes what came, `ready` is the queue of requests whose heads
are complete, and the newest request's body grows as it is fed.

What llhttp 9 refuses by itself (a test holds it to that, for another release
may be more lenient): bare CR and LF inside the head, obs-fold, invalid names,
space before the colon, repeated or conflicting Content-Length, Content-Length
with Transfer-Encoding, chunked not last, sizes that are no hexadecimal number.

What it lets through and is refused here: a bare CR or LF before the request
line, versions 0.9 and 2.0, a transfer coding before ``chunked``,
Transfer-Encoding in HTTP/1.0, a missing or repeated Host, a fragment in the
target, more chunk framing than body, and every limit.

Rule: no callback of the parser starts anything. A callback that raises ends
the parsing, and the reader takes no byte after that.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import httptools

from hybrid.config import HttpConfig
from hybrid.http.message import Request
from hybrid.http.refusal import Refused

_SLICE = 16 * 1024  # bytes fed at once while heads may be in them: bounds what a flood can queue
_EXCESS = 16 * 1024  # bytes of chunk framing above what is forgiven; as Go's net/http
_FORGIVEN = 16  # bytes of framing per chunk that cost nothing
_LINE_ENDS = frozenset((b"\r", b"\n"))

# Header names that mean something to the server itself.
_HOST, _LENGTH, _CODING, _EXPECT, _UPGRADE, _ID, _FOR, _PROTO, _REFERER, _AGENT = range(10)
_KNOWN = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"expect": _EXPECT,
    b"upgrade": _UPGRADE,
    b"x-request-id": _ID,
    b"x-forwarded-for": _FOR,
    b"x-forwarded-proto": _PROTO,
    b"referer": _REFERER,
    b"user-agent": _AGENT,
}


class RequestReader:
    """Turns the bytes of one connection into requests.

    `ended` is true once no further request may come: the client said
    ``Connection: close``, switched protocols, or was refused.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_excess",
        "_hosts",
        "_limits",
        "_muted",
        "_parser",
        "_size",
        "_waiting",
        "current",
        "ended",
        "ready",
        "rest",
        "switched",
    )

    def __init__(self, limits: HttpConfig) -> None:
        self._limits = limits
        self._parser: Any = httptools.HttpRequestParser(self)
        self.current: Request | None = None  # being read: its head, or its body; None between
        self._size = 0  # bytes of the header lines that are complete
        self._waiting = 0  # bytes of whole reads that did not end the head
        self._hosts = 0
        self._body = 0  # bytes of body that the current feed brought
        self._chunks = 0  # chunks that it began
        self._excess = 0
        self._muted = False
        self.ready: deque[Request] = deque()
        self.ended = False
        self.switched = False  # what follows are WebSocket frames, kept in `rest`
        self.rest = b""  # not parsed: behind an upgrade, or kept back (see `feed`)

    def feed(self, data: bytes) -> None:
        """Parse `data`, after what was kept back before.

        Stops after the slice that completed a head, and keeps the rest in
        `rest` until the next call: so a flood of pipelined requests costs
        their bytes, not their objects.

        Raises:
            Refused: the stream is malformed or over a limit. Requests that
                were complete before are in `ready` and still get an answer.
        """
        if self.ended:
            if self.switched:
                self.rest += data
            return  # behind the last request: nothing that may be answered
        if self.rest:
            data, self.rest = self.rest + data, b""
        if len(data) <= _SLICE or self._is_plain_body(len(data)):
            self._parse(data)
            return
        at = 0
        while at < len(data) and not self.ended:
            if len(self.ready) > 1:
                self.rest = data[at:]
                return
            step = len(data) if self._is_plain_body(len(data) - at) else at + _SLICE
            self._parse(data[at:step])
            at = step

    def _is_plain_body(self, size: int) -> bool:
        """Return whether the next `size` bytes can only be body."""
        request = self.current
        if request is None or not request.method:
            return False
        return request.content_length - request.taken >= size

    def _parse(self, data: bytes) -> None:
        began = self.current
        if began is None and data[:1] in _LINE_ENDS:
            data = self._skip_empty_lines(data)
        self._body = self._chunks = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as ex:
            self._switch(data[ex.args[0] :])
        except httptools.HttpParserError as ex:
            if self.ended and self.current is None:
                return  # data behind a request that said close
            self.ended = True
            raise _refusal(ex) from None
        request = self.current
        if request is not None and request is began:
            self._weigh(request, len(data))

    def _weigh(self, request: Request, size: int) -> None:
        """Bound what llhttp and httptools keep or skip without telling us."""
        limits = self._limits
        if not request.method:
            self._waiting += size
            if not self._size and not request.headers and self._waiting > limits.max_request_line:
                self._refuse(414, _TOO_LONG.format(limits.max_request_line))
            if self._waiting > limits.max_header_bytes + limits.max_request_line:
                self._refuse(431, _TOO_BIG.format(limits.max_header_bytes))
        elif request.content_length < 0:
            excess = self._excess + size - 3 * self._body - _FORGIVEN * self._chunks
            self._excess = max(0, excess)
            if excess > _EXCESS:
                self._refuse(400, "more chunk framing than body")

    def _skip_empty_lines(self, data: bytes) -> bytes:
        """Return `data` without empty lines before a request (RFC 9112 section 2.2).

        llhttp would skip any mixture of CR and LF.
        """
        while data[:2] == b"\r\n":
            data = data[2:]
        if data == b"\r":
            self.rest = data  # its LF may come with the next bytes
            return b""
        if data[:1] in (b"\r", b"\n"):
            self._refuse(400, "a bare CR or LF before the request line")
        return data

    def _refuse(self, status: int, detail: str) -> None:
        self.ended = True
        raise Refused(status, detail)

    # -- callbacks of the parser ---------------------------------------------------

    def on_message_begin(self) -> None:
        """A byte of a request line has come."""
        if self._muted:
            return
        if self.ended:
            raise Refused(400, "a request behind the last one")
        self.current = Request()
        self._size = self._waiting = self._hosts = self._excess = 0

    def on_url(self, data: bytes) -> None:
        """A piece of the request target."""
        request = self.current
        if request is None or self._muted:
            return
        request.target += data
        # 14: the shortest rest of the line, "GET  HTTP/1.1\r\n" without the method's name.
        if len(request.target) + 14 > self._limits.max_request_line:
            raise Refused(414, _TOO_LONG.format(self._limits.max_request_line))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A complete header line, or a trailer's."""
        request = self.current
        if request is None or self._muted:
            return
        limits = self._limits
        self._size += len(name) + len(value) + 4
        if self._size > limits.max_header_bytes:
            raise Refused(431, _TOO_BIG.format(limits.max_header_bytes))
        if request.method:
            return  # a trailer: read, counted, ignored (RFC 9110 section 6.5.1 allows it)
        name = name.lower()
        headers = request.headers
        headers.append((name, value))
        if len(headers) > limits.max_headers:
            raise Refused(431, f"more than {limits.max_headers} header lines")
        known = _KNOWN.get(name)
        if known is not None:
            self._note(request, known, value)

    def _note(self, request: Request, known: int, value: bytes) -> None:
        match known:
            case 0:  # host
                self._hosts += 1
            case 1:  # content-length
                request.content_length = int(value)
            case 2:  # transfer-encoding
                self._check_coding(request, value)
            case 3:  # expect
                self._check_expectation(request, value)
            case 4:  # upgrade
                request.websocket = value.lower() == b"websocket"
            case 5:
                request.request_id = value
            case 6:  # x-forwarded-for may come in several lines, which make one list
                before = request.forwarded_for
                request.forwarded_for = value if before is None else before + b"," + value
            case 7:
                request.forwarded_proto = value
            case 8:
                request.referer = value
            case _:
                request.user_agent = value

    def _check_coding(self, request: Request, value: bytes) -> None:
        if value.strip().lower() != b"chunked":
            raise Refused(400, "the only transfer coding here is chunked")
        request.content_length = -1

    def _check_expectation(self, request: Request, value: bytes) -> None:
        if value.lower() != b"100-continue":
            raise Refused(417, "the only expectation here is 100-continue")
        request.expects_continue = True

    def on_headers_complete(self) -> None:
        """The head is complete."""
        request = self.current
        if request is None or self._muted:
            return
        parser = self._parser
        version = parser.get_http_version()
        if version != "1.1":
            self._check_version(request, version)
        elif self._hosts != 1:
            raise Refused(400, "HTTP/1.1 demands exactly one Host header")
        method = parser.get_method().decode("ascii")
        limit = self._limits.max_body
        if limit and request.content_length > limit:
            raise Refused(413, _TOO_LARGE.format(limit))
        if method == "CONNECT":
            raise Refused(501, "this server is no proxy")
        if b"#" in request.target:
            raise Refused(400, "a request target has no fragment")
        request.method = method
        request.keep_alive = parser.should_keep_alive()
        if request.websocket:
            request.websocket = method == "GET" and parser.should_upgrade() and version == "1.1"
        self.ready.append(request)

    def _check_version(self, request: Request, version: str) -> None:
        if version != "1.0":
            raise Refused(505, "this server speaks HTTP/1.0 and HTTP/1.1")
        if request.content_length < 0:
            raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
        if self._hosts > 1:
            raise Refused(400, "more than one Host header")
        request.http_version = version
        request.expects_continue = False  # RFC 9110 section 10.1.1

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        request = self.current
        if request is None:
            return
        size = len(data)
        self._body += size
        request.taken += size
        limit = self._limits.max_body
        if limit and request.taken > limit:
            raise Refused(413, _TOO_LARGE.format(limit))
        request.add_body(data)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1

    def on_message_complete(self) -> None:
        """The request is complete, body included."""
        request = self.current
        if request is None or self._muted:
            return
        if request.content_length > request.taken:
            return  # llhttp skips the body of a request that asks for an upgrade; see _switch
        request.ended = True
        self.current = None
        if not request.keep_alive:
            self.ended = True

    # -- Upgrade -------------------------------------------------------------------

    def _switch(self, rest: bytes) -> None:
        """Go on behind a head that asked for another protocol.

        A WebSocket takes the connection over. Any other protocol is ignored
        (RFC 9110 section 7.8), but llhttp has stopped, and skipped the body:
        a new parser is told by a head of our own what is left to read.
        """
        request = self.ready[-1]
        if request.websocket:
            self.current = None
            request.ended = self.ended = self.switched = True
            self.rest = rest
            return
        self._parser = httptools.HttpRequestParser(self)
        if not request.ended or request.content_length:
            length = request.content_length
            framing = (
                b"Transfer-Encoding: chunked" if length < 0 else b"Content-Length: %d" % length
            )
            request.ended = False
            self.current = request
            self._muted = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._muted = False
        if rest:
            self._parse(rest)


def _refusal(ex: httptools.HttpParserError) -> Refused:
    """Return why the parser stopped: our own reason, or llhttp's."""
    inner = ex.__context__
    if isinstance(inner, Refused):
        return inner
    if inner is not None and isinstance(ex, httptools.HttpParserCallbackError):
        raise inner  # a bug of ours in a callback
    if isinstance(ex, httptools.HttpParserInvalidMethodError):
        return Refused(400, "the request line does not begin with a method known here")
    reason = str(ex.args[0]) if ex.args else "malformed request"
    return Refused(400, reason)


_TOO_LONG = "the request line is over {} bytes (--max-request-line)"
_TOO_BIG = "the header lines are over {} bytes (--max-header-bytes)"
_TOO_LARGE = "the body is over {} bytes (--max-body)"
