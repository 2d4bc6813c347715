"""One answer as bytes: its head, and how its body is framed. Sans-I/O.

    first()           the head, with the first piece of the body behind it
    more()            every other piece
    check_complete()  was exactly the announced body written?

The head waits for the first piece of the body: an answer that is complete by
then leaves in one write, with Content-Length.

The application's headers are checked here: a CR or LF in a value would let
its author write a second answer into the stream (response splitting).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from time import time
from typing import IO
from wsgiref.handlers import format_date_time

from hybrid.errors import HybridError

# -- One answer as bytes: its head, and how its body is framed. Sans-I/O ---------
#     first()           the head, with the first piece of the body behind it
#     more()            every other piece
#     check_complete()  was exactly the announced body written?
#
# The head waits for the first piece of the body: an answer that is complete by
# then leaves in one write, with Content-Length.

Header = tuple[bytes, bytes]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JOINED = 64 * 1024  # bytes of body up to which copying is cheaper than two buffers


class BadAnswer(HybridError):
    """The application sent what cannot be an HTTP answer: its bug, not the client's."""


def settled(body: object) -> bytes | memoryview:
    """Return a body as bytes that stay as they are until the client has read them.

    A read-only view of bytes is its sender's word that they do, and is not copied.

    Raises:
        BadAnswer: it is no object made of bytes.
    """
    try:
        view = memoryview(body)  # type: ignore[arg-type]
    except TypeError:
        raise BadAnswer(f"a body is made of bytes, not {type(body).__name__}") from None
    if view.readonly and view.contiguous and view.format == "B" and view.ndim == 1:
        return view
    return view.tobytes()


class Answer:
    """What the application wants to say, and how its body is framed.

    `length` is the number of body bytes announced (None: not announced),
    `chunked` that they travel as chunks, `close` that the connection ends
    after them. With neither a length nor chunks the end of the connection is
    the end of the body.
    """

    __slots__ = (
        "bodiless",
        "chunked",
        "close",
        "headers",
        "is_http_1_0",
        "length",
        "request_id",
        "sent",
        "status",
    )

    def __init__(
        self,
        status: int,
        headers: Iterable[Header],
        request_id: str,
        *,
        to: str,
        is_http_1_0: bool = False,
        close: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.request_id = request_id
        self.bodiless = to == "HEAD" or status == 204 or status == 205 or status == 304
        self.is_http_1_0 = is_http_1_0
        self.close = close
        self.length: int | None = None
        self.chunked = False
        self.sent = 0  # bytes of body

    def first(self, heads: Heads, body: bytes, more: bool) -> tuple[bytes, ...]:
        """Return the head, with the first piece of the body behind it.

        Raises:
            BadAnswer: it is no valid HTTP answer; nothing of it may be written.
        """
        size = len(body)
        head = heads.render(self, size, more)
        if self.bodiless:
            return (head,)
        if self.chunked:
            return (head, *self.more(body, more))
        self.sent = size
        if self.length is not None and (size > self.length or (size < self.length and not more)):
            raise BadAnswer(f"a body of {size} bytes with a Content-Length of {self.length}")
        if size <= JOINED:
            return (head + body,)
        return (head, body)

    def before_file(self, heads: Heads, file: IO[bytes]) -> tuple[bytes, int]:
        """Return the head of an answer whose body is a whole file, and the body's size."""
        size = os.fstat(file.fileno()).st_size
        self.length = size if self.status != 304 else None
        head = heads.render(self, size, more=False)
        if self.length != size and not self.bodiless:
            raise BadAnswer(f"Content-Length {self.length}, but the file has {size} bytes")
        return head, size

    def more(self, body: bytes, more: bool) -> tuple[bytes, ...]:
        """Return what has to be written for one more piece of the body.

        Raises:
            BadAnswer: there is more body than was announced.
        """
        if self.bodiless:
            return ()
        size = len(body)
        self._count(size)
        if not self.chunked:
            return (body,) if size else ()
        end = b"" if more else b"0\r\n\r\n"
        if size > JOINED:
            return (b"%x\r\n" % size, body, b"\r\n" + end)
        if size:
            return (b"%x\r\n%b\r\n%b" % (size, body, end),)
        return (end,) if end else ()

    def _count(self, size: int) -> None:
        self.sent = sent = self.sent + size
        if self.length is not None and sent > self.length:
            raise BadAnswer(f"the body is longer than its Content-Length, {self.length}")

    def is_whole(self) -> bool:
        """Return whether the client can know, by what is written, that nothing more will come."""
        return self.bodiless or self.sent == self.length

    def check_complete(self) -> None:
        """Raise BadAnswer unless the whole body that was announced is written."""
        if self.length is not None and self.sent != self.length and not self.bodiless:
            left = self.length - self.sent
            raise BadAnswer(f"the body ends {left} bytes before its Content-Length")

    def frame(self, size: int, more: bool) -> bytes:
        """Decide how the body's end will be known (RFC 9112 section 6.3).

        Args:
            size: bytes of the body that are there now.
            more: whether others will follow.

        Returns:
            The last header lines and the empty line.
        """
        if self.length is None or self.status == 204 or self.status == 205:
            self._choose(size, more)
        if self.length is not None:
            if not (self.close or self.is_http_1_0):
                return b"content-length: %d\r\n\r\n" % self.length
            end = b"content-length: %d\r\n" % self.length
        else:
            end = b"transfer-encoding: chunked\r\n" if self.chunked else b""
        if self.close:
            return end + b"connection: close\r\n\r\n"
        if self.is_http_1_0:
            return end + b"connection: keep-alive\r\n\r\n"
        return end + b"\r\n"

    def _choose(self, size: int, more: bool) -> None:
        if self.status == 204:
            self.length = None
        elif self.status == 205:
            self.length = 0  # RFC 9110 section 15.3.6: no content, and it says so
        elif self.bodiless:
            if size and not more and self.status != 304:
                self.length = size
        elif not more:
            self.length = size
        elif self.is_http_1_0:
            self.close = True
        else:
            self.chunked = True


_STATUS_LINES = {
    code: b"HTTP/1.1 %d %b\r\n"
    % (code, HTTPStatus(code).phrase.encode() if code in HTTPStatus._value2member_map_ else b"")
    for code in range(200, 1000)
}
_USUAL = {code: line for code, line in _STATUS_LINES.items() if code not in (204, 205, 304)}
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKENS = re.compile(rb"[^, \t]+")
# Section 5.5. How much shorter a head is without them tells how many are in it, in the time
# that it takes to look for CR, LF and NUL.
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)

# Names with a meaning for the server; 0 is any other valid name.
_PLAIN, _LENGTH, _CONNECTION, _DATE, _ID, _SERVER, _DROPPED = range(7)
_SPECIAL = {
    b"content-length": _LENGTH,
    b"connection": _CONNECTION,
    b"date": _DATE,
    b"x-request-id": _ID,
    b"server": _SERVER,
    # Framing and the connection are the server's business alone.
    b"transfer-encoding": _DROPPED,
    b"keep-alive": _DROPPED,
    b"proxy-connection": _DROPPED,
}
_MOST_NAMES = 1024  # different names remembered as valid; an application has a few dozen


class Heads:
    """Renders answer heads; one per server.

    The lines that every answer has (Date, the server's own headers) are
    rendered once per second.
    """

    __slots__ = ("_common", "_constant", "_date", "_known", "_second", "_server")

    def __init__(self, constant: Sequence[Header], *, server_header: bool) -> None:
        self._constant = b"".join(b"%b: %b\r\n" % pair for pair in constant)
        self._server = b"server: hybrid\r\n" if server_header else b""
        self._known: dict[bytes, int] = dict(_SPECIAL)
        self._date = b""
        self._common = b""
        self._second = -1.0

    def common(self) -> bytes:
        """Return the lines that every answer has."""
        now = time()
        if not 0.0 <= now - self._second < 1.0:
            self._second = now // 1.0
            self._date = b"date: %b\r\n" % format_date_time(now).encode()
            self._common = self._date + self._server + self._constant
        return self._common

    def whole(
        self, status: int, headers: Iterable[Header], request_id: str, body: bytes
    ) -> bytes | None:
        """Return head and body in one piece, or None if the answer is not of the usual kind.

        Usual: a short body that is all there, on a connection that stays, and of
        the headers only Content-Length concerns the server. Such an answer needs
        no `Answer`; every other one, a faulty one too, is `render`'s.
        """
        size, text, lines = len(body), _USUAL.get(status), 1
        if text is None or size > JOINED or not isinstance(status, int):
            return None
        length = b"%d" % size
        known = self._known
        for name, value in headers:
            kind = known.get(name)
            if kind == _PLAIN:
                text += name + b": " + value + b"\r\n"
                lines += 1
            elif kind != _LENGTH or value != length:
                return None
        if len(text.translate(None, _CONTROLS)) != len(text) - 2 * lines:
            return None
        id_line = b"x-request-id: " + request_id.encode() + b"\r\n"
        end = b"content-length: " + length + b"\r\n\r\n"
        return b"".join((text, id_line, self.common(), end, body))

    def render(self, answer: Answer, size: int, more: bool) -> bytes:
        """Return the whole head, and fill in how the body of `answer` is framed.

        Args:
            answer: what the application wants to say.
            size: bytes of the body that are there now.
            more: whether others will follow.

        Raises:
            BadAnswer: a status outside 200-999, a name that is no token, a control
                character in a value, or a Content-Length that is no number.
        """
        status_line = _STATUS_LINES.get(answer.status)
        if status_line is None:
            raise BadAnswer(f"{answer.status!r} is no final HTTP status")
        answer.status = int(answer.status)  # 200.0 was found, too, and would spoil the counting
        return self._lines(status_line, answer) + answer.frame(size, more)

    def render_switch(self, answer: Answer, upgrade: Sequence[Header]) -> bytes:
        """Return the head that turns the connection into a WebSocket.

        Args:
            answer: the application's headers.
            upgrade: those of the handshake (RFC 6455 section 4.2.2).
        """
        answer.headers = [*answer.headers, *upgrade]
        return self._lines(_SWITCHING, answer) + b"connection: Upgrade\r\n\r\n"

    def _lines(self, status_line: bytes, answer: Answer) -> bytes:
        """Return the status line and every header that is not framing, checked."""
        parts = [status_line]
        common = self.common()
        request_id = b"x-request-id: " + answer.request_id.encode() + b"\r\n"
        known, count = self._known, 1
        for name, value in answer.headers:
            kind = known.get(name)
            if kind is None:
                kind = self._learn(name)
            if kind:
                if kind == _LENGTH:
                    if answer.length is None and value.isdigit():
                        answer.length = int(value)
                    else:
                        _check_length(value, answer.length)
                    continue
                if kind == _CONNECTION:
                    answer.close = answer.close or b"close" in _TOKENS.findall(value.lower())
                    continue
                if kind == _DROPPED:
                    continue
                if kind == _ID:
                    request_id = b""
                common = self._without(common, kind)
            parts += (name, b": ", value, b"\r\n")
            count += 1
        text = b"".join(parts)
        if len(text.translate(None, _CONTROLS)) != len(text) - 2 * count:
            raise BadAnswer(f"a control character in the value of {_culprit(answer.headers)!r}")
        return text + request_id + common

    def _without(self, common: bytes, kind: int) -> bytes:
        """Return `common` without the line that the application writes itself."""
        if kind == _DATE:
            return common.replace(self._date, b"", 1)
        if kind == _SERVER and self._server:
            return common.replace(self._server, b"", 1)
        return common

    def _learn(self, name: bytes) -> int:
        """Check a name not seen before and return its kind."""
        if not isinstance(name, bytes) or not _TOKEN.fullmatch(name):
            raise BadAnswer(f"{name!r} is no header name")
        kind = _SPECIAL.get(name.lower(), _PLAIN)
        if len(self._known) < _MOST_NAMES:
            self._known[name] = kind
        return kind


def _culprit(headers: object) -> bytes:
    """Return the name of the first header whose value would break the head."""
    pairs = headers if isinstance(headers, list | tuple) else ()
    for name, value in pairs:
        if any(code in value for code in _CONTROLS):
            return bytes(name)
    return b"a header"


def _check_length(value: bytes, before: int | None) -> None:
    """Refuse a Content-Length that is no number, or differs from the one before it."""
    if not value.isdigit():
        raise BadAnswer(f"Content-Length {value!r} is no number")
    if before != int(value):
        raise BadAnswer(f"two Content-Lengths: {before} and {int(value)}")
