"""Bytes to requests: which bytes the parser gets, and how many at once. Sans-I/O.

`parse` is called with what came; `ready` is the queue of requests whose heads
are complete; the newest request's body grows with every call. `assembling`
says what makes a request valid.
"""

from __future__ import annotations

import httptools

from hybrid.config import HttpConfig
from hybrid.http.request.assembling import RequestAssembler
from hybrid.http.request.message import Request
from hybrid.http.request.refusal import Refused

_QUEUED = 16  # requests that may wait in `ready`; the bytes behind them are not parsed
_CR, _LF = b"\r\n"
_END = b"\r\n\r\n"


class RequestReader(RequestAssembler):
    """Turns the bytes of one connection into requests.

    `ended` is true once no further request may come: the client said
    ``Connection: close``, switched protocols, or was refused.
    """

    __slots__ = ("rest", "switched")

    def __init__(self, limits: HttpConfig) -> None:
        super().__init__(limits)
        self.switched = False  # what follows are WebSocket frames, kept in `rest`
        self.rest = b""  # not parsed: behind an upgrade, or kept back (see `parse`)

    def parse(self, data: bytes) -> None:
        """Parse what was kept back before, and `data`.

        When enough requests are complete, the other bytes are kept in `rest`:
        a flood of pipelined requests costs its bytes, not its objects.

        Raises:
            Refused: the stream is malformed or over a limit. Requests that
                were complete before are in `ready` and still get an answer.
        """
        if self.rest:
            data, self.rest = self.rest + data, b""
        at, size = 0, len(data)
        while at < size and not self.ended:
            if len(self.ready) >= _QUEUED:
                self.rest = data[at:]
                return
            request = self.current
            if request is None:
                if data[at] <= _CR:
                    at = self._skip_empty_lines(data, at)
                    continue
                self.current = request = Request()
                end = data.find(_END, at) + 4
                if end == 3:  # not found
                    end = size
            elif request.content_length > 0 and request.method:
                at = self._count_body(request, data, at)
                continue
            else:
                end = self._end_of_piece(request, data, at)
            self._parse_piece(request, data if end - at == size else data[at:end])
            at = end
        if self.switched:
            self.rest = data[at:]  # frames of a WebSocket, which is not accepted yet

    def finish(self) -> None:
        """Parse no more, and drop all that was read."""
        self.ended = True
        self.ready.clear()
        self.current = self._parser = None
        self.rest = self._piece = b""

    def _count_body(self, request: Request, data: bytes, at: int) -> int:
        """Add what `data` has of a body of known length, and return where that part ends.

        The parser would only count the bytes and copy them. Without it a body is
        not copied; the price is a new parser for the next request, 0.25 µs.
        """
        left = request.content_length - request.taken
        if at or len(data) > left:
            data = data[at : at + left]
        request.taken += len(data)
        request.add_body(data)
        if request.taken == request.content_length:
            self._parser = httptools.HttpRequestParser(self)  # the old one waits for that body
            self.on_message_complete()
        return at + len(data)

    def _end_of_piece(self, request: Request, data: bytes, at: int) -> int:
        """Return the end of the piece to parse, so that a request ends where a piece does.

        Between two requests llhttp skips any mixture of CR and LF, so what it
        accepts as the next request may differ from what a proxy in front of us
        accepts. `_skip_empty_lines` is stricter, but has to know where a request
        begins. Without a Content-Length the one before ends with an empty line:
        that of its head, or that behind its chunks. So a piece ends at each.
        """
        if data[at] == _LF or data[at] == _CR:
            return at + 1  # perhaps the rest of an empty line that came in two pieces
        end = data.find(_END, at)
        return len(data) if end < 0 else end + 4

    def _parse_piece(self, request: Request, data: bytes) -> None:
        if request.method:
            self._body = self._chunks = 0
        else:
            request.size += len(data)
            self._body = len(data)  # a head is not chunk framing
        self._piece = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._switch()
        except httptools.HttpParserError as ex:
            self.ended = True
            raise _refusal(ex) from None
        if self.current is request:
            self._limit_unfinished(request)

    def _limit_unfinished(self, request: Request) -> None:
        """Limit the bytes of a request that has not ended, in every place where they may hide.

        llhttp reports a header when its line is complete. Until then httptools
        keeps the bytes, and llhttp skips chunk framing: neither calls back. A
        client that sends one endless header line, a byte at a time, would never
        reach a limit that only the callbacks check, and fill the memory.
        """
        if not request.method:
            if _LF not in request.line:
                request.line += self._piece
            if request.size > self._small:
                self._check_sizes(request, line_ended=_LF in request.line)
        elif request.content_length < 0:
            self._limit_chunk_framing(request)

    def _skip_empty_lines(self, data: bytes, at: int) -> int:
        """Return where the next request begins (RFC 9112 section 2.2).

        llhttp would skip any mixture of CR and LF.
        """
        if data[at : at + 2] == b"\r\n":
            return at + 2
        if data[at:] == b"\r":
            self.rest = b"\r"  # its LF may come with the next bytes
            return at + 1
        self._refuse(400, "a request does not begin with a control character")
        return at

    # -- Upgrade -------------------------------------------------------------------

    def _switch(self) -> None:
        """Go on behind a head that asked for another protocol, at which llhttp stops.

        A WebSocket takes the connection over: what follows are frames. Any other
        protocol is ignored (RFC 9110 section 7.8), and the request is answered
        like any other, with its body. But llhttp treats that body as the other
        protocol's bytes, and the next parser would read it as a request: a client
        could smuggle one past a proxy. A body with a length is counted without
        the parser. For one in chunks, a new parser first reads a made-up head
        that announces chunks.
        """
        request = self.ready[-1]
        if request.websocket:
            self.current = None
            request.ended = self.ended = self.switched = True
            return
        self._parser = httptools.HttpRequestParser(self)
        if request.content_length < 0:
            request.ended = False
            self.current = request
            # Its callbacks find a request whose head is complete, and do nothing.
            self._parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")


def _refusal(ex: httptools.HttpParserError) -> Refused:
    """Return why the parser stopped: a `Refused` of a callback, or llhttp's reason."""
    inner = ex.__context__
    if isinstance(inner, Refused):
        return inner
    if inner is not None and isinstance(ex, httptools.HttpParserCallbackError):
        raise inner  # a bug in one of the callbacks
    if isinstance(ex, httptools.HttpParserInvalidMethodError):
        return Refused(400, "the request line does not begin with a method known here")
    reason = str(ex.args[0]) if ex.args else "malformed request"
    return Refused(400, reason)
