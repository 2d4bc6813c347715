"""The head of an answer as bytes, and how its body is framed.

The application's headers are checked here: a CR or LF in a value would let
its author write a second answer into the stream (response splitting).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from time import time
from wsgiref.handlers import format_date_time

from hybrid.errors import HybridError

Header = tuple[bytes, bytes]


class BadAnswer(HybridError):
    """The application sent what cannot be an HTTP answer: its bug, not the client's."""


_STATUS_LINES = {
    code: b"HTTP/1.1 %d %b\r\n"
    % (code, HTTPStatus(code).phrase.encode() if code in HTTPStatus._value2member_map_ else b"")
    for code in range(200, 1000)
}
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

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

    def render(self, answer: Answer, size: int, more: bool) -> bytes:
        """Return the whole head, and fill in how the body of `answer` is framed.

        Args:
            answer: what the application wants to say.
            size: bytes of the body that are there now.
            more: whether others will follow.

        Raises:
            BadAnswer: a status outside 200-999, a name that is no token, a CR,
                LF or NUL in a value, or a Content-Length that is no number.
        """
        status = answer.status
        if status not in _STATUS_LINES:
            raise BadAnswer(f"{status!r} is no final HTTP status")
        lines = self._lines(_STATUS_LINES[status], answer)
        answer.frame(size, more)
        lines.append(answer.framing())
        return b"".join(lines)

    def render_switch(self, answer: Answer, upgrade: Sequence[Header]) -> bytes:
        """Return the head that turns the connection into a WebSocket.

        Args:
            answer: the application's headers.
            upgrade: those of the handshake (RFC 6455 section 4.2.2).
        """
        lines = self._lines(_SWITCHING, answer)
        lines += [name + b": " + value + b"\r\n" for name, value in upgrade]
        _check_values(lines[-len(upgrade) :])
        lines.append(b"\r\n")
        return b"".join(lines)

    def _lines(self, status_line: bytes, answer: Answer) -> list[bytes]:
        """Return the status line and every header that is not framing, checked."""
        lines = [status_line]
        common = self.common()
        own_id = False
        known = self._known
        for name, value in answer.headers:
            kind = known.get(name)
            if kind is None:
                kind = self._learn(name)
            if kind:
                if kind == _LENGTH:
                    answer.length = _number(value, answer.length)
                    continue
                if kind == _CONNECTION:
                    answer.close = answer.close or b"close" in value.lower()
                    continue
                if kind == _DROPPED:
                    continue
                own_id = own_id or kind == _ID
                common = self._without(common, kind)
            lines.append(name + b": " + value + b"\r\n")
        _check_values(lines)
        if not own_id:
            lines.append(b"x-request-id: " + answer.request_id + b"\r\n")
        lines.append(common)
        return lines

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
        "status",
    )

    def __init__(
        self,
        status: int,
        headers: Iterable[Header],
        request_id: bytes,
        *,
        to: str,
        is_http_1_0: bool = False,
        close: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.request_id = request_id
        self.bodiless = to == "HEAD" or status == 204 or status == 304
        self.is_http_1_0 = is_http_1_0
        self.close = close
        self.length: int | None = None
        self.chunked = False

    def frame(self, size: int, more: bool) -> None:
        """Decide how the body's end will be known (RFC 9112 section 6.3)."""
        if self.status == 204:
            self.length = None
        elif self.length is None:
            if self.bodiless:
                if size and not more and self.status != 304:
                    self.length = size
            elif not more:
                self.length = size
            elif self.is_http_1_0:
                self.close = True
            else:
                self.chunked = True

    def framing(self) -> bytes:
        """Return the last header lines and the empty line."""
        if self.length is not None:
            end = b"content-length: %d\r\n" % self.length
        else:
            end = b"transfer-encoding: chunked\r\n" if self.chunked else b""
        if self.close:
            return end + b"connection: close\r\n\r\n"
        if self.is_http_1_0:
            return end + b"connection: keep-alive\r\n\r\n"
        return end + b"\r\n"


def _check_values(lines: list[bytes]) -> None:
    """Refuse CR, LF or NUL in a value: then the joined lines hold too many."""
    text = b"".join(lines)
    count = len(lines)
    if text.count(b"\n") == count and text.count(b"\r") == count and b"\0" not in text:
        return
    for line in lines:
        if line.count(b"\n") != 1 or line.count(b"\r") != 1 or b"\0" in line:
            raise BadAnswer(f"CR, LF or NUL in the value of {line.partition(b':')[0]!r}")


def _number(value: bytes, before: int | None) -> int:
    if not value.isdigit():
        raise BadAnswer(f"Content-Length {value!r} is no number")
    number = int(value)
    if before is not None and before != number:
        raise BadAnswer(f"two Content-Lengths: {before} and {number}")
    return number
