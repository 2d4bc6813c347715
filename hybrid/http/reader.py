"""Bytes to requests: what is fed to the parser, and how much of it at once.

Sans-I/O: `feed` takes what came, `ready` is the queue of requests whose heads
are complete, and the newest request's body grows as it is fed. What a request
must be to get there is `assembling`'s.
"""

from __future__ import annotations

import httptools

from hybrid.config import HttpConfig
from hybrid.http.assembling import TOO_BIG, TOO_LONG, RequestAssembler
from hybrid.http.message import Request
from hybrid.http.refusal import Refused

_SLICE = 16 * 1024  # bytes fed at once while heads may be in them: bounds what a flood can queue
_EXCESS = 16 * 1024  # bytes of chunk framing above what is forgiven; as Go's net/http
_FORGIVEN = 16  # bytes of framing per chunk that cost nothing
_LAST_CONTROL = 0x1F


class RequestReader(RequestAssembler):
    """Turns the bytes of one connection into requests.

    `ended` is true once no further request may come: the client said
    ``Connection: close``, switched protocols, or was refused.
    """

    __slots__ = ("rest", "switched")

    def __init__(self, limits: HttpConfig) -> None:
        super().__init__(limits)
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
        self._body = self._chunks = 0
        while data:
            if data[0] <= _LAST_CONTROL and self.current is None:
                data = self._skip_empty_lines(data)
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as ex:
                data = self._switch(data[ex.args[0] :])
            except httptools.HttpParserError as ex:
                if self.ended and self.current is None:
                    return  # data behind a request that said close
                self.ended = True
                raise _refusal(ex) from None
        if began is not None and self.current is began:
            self._weigh(began, len(data))

    def _weigh(self, request: Request, size: int) -> None:
        """Bound what llhttp and httptools keep or skip without telling us."""
        limits = self._limits
        if not request.method:
            self._waiting += size
            if not self._size and not request.headers and self._waiting > limits.max_request_line:
                self._refuse(414, TOO_LONG.format(limits.max_request_line))
            if self._waiting > limits.max_header_bytes + limits.max_request_line:
                self._refuse(431, TOO_BIG.format(limits.max_header_bytes))
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

    # -- Upgrade -------------------------------------------------------------------

    def _switch(self, rest: bytes) -> bytes:
        """Prepare for what is behind a head that asked for another protocol; return it.

        A WebSocket takes the connection over. Any other protocol is ignored
        (RFC 9110 section 7.8), but llhttp has stopped, and skipped the body:
        a new parser is told by a head of our own what is left to read.
        """
        request = self.ready[-1]
        if request.websocket:
            self.current = None
            request.ended = self.ended = self.switched = True
            self.rest = rest
            return b""
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
        return rest


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
