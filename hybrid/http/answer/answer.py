"""One answer as bytes: its head, and how its body is framed. Sans-I/O.

    first()           the head, with the first piece of the body behind it
    more()            every other piece
    check_complete()  was exactly the announced body written?

The head waits for the first piece of the body: an answer that is complete by
then leaves in one write, with Content-Length.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO

from hybrid.http.answer.heads import SHORT_BODY, BadAnswer, Heads, status_line
from hybrid.http.request.message import Header

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def stable_bytes(body: object) -> bytes | memoryview:
    """Return a body as bytes that do not change until the client has read them.

    A read-only view of bytes is not copied: its sender promises not to change them.

    Raises:
        BadAnswer: it is not an object made of bytes.
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
            BadAnswer: it is not a valid HTTP answer; nothing of it may be written.
        """
        size = len(body)
        head = self._head(heads, size, more)
        if self.bodiless:
            return (head,)
        if self.chunked:
            return (head, *self.more(body, more))
        self.sent = size
        if self.length is not None and (size > self.length or (size < self.length and not more)):
            raise BadAnswer(f"a body of {size} bytes with a Content-Length of {self.length}")
        if size <= SHORT_BODY:
            return (head + body,)
        return (head, body)

    def before_file(self, heads: Heads, file: IO[bytes]) -> tuple[bytes, int]:
        """Return the head of an answer whose body is a whole file, and the body's size."""
        size = os.fstat(file.fileno()).st_size
        whole = size if self.status != 304 else None
        return self._head(heads, size, more=False, whole=whole), size

    def more(self, body: bytes, more: bool) -> tuple[bytes, ...]:
        """Return the pieces to write for one more piece of the body.

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
        if size > SHORT_BODY:
            return (b"%x\r\n" % size, body, b"\r\n" + end)
        if size:
            return (b"%x\r\n%b\r\n%b" % (size, body, end),)
        return (end,) if end else ()

    def _count(self, size: int) -> None:
        self.sent = sent = self.sent + size
        if self.length is not None and sent > self.length:
            raise BadAnswer(f"the body is longer than its Content-Length, {self.length}")

    def is_whole(self) -> bool:
        """Return whether the client knows, from what is written, that nothing more will come."""
        return self.bodiless or self.sent == self.length

    def check_complete(self) -> None:
        """Raise BadAnswer unless the whole body that was announced is written."""
        if self.length is not None and self.sent != self.length and not self.bodiless:
            left = self.length - self.sent
            raise BadAnswer(f"the body ends {left} bytes before its Content-Length")

    def _head(self, heads: Heads, size: int, more: bool, whole: int | None = None) -> bytes:
        """Return the whole head, after deciding how the body is framed.

        Args:
            heads: renders the lines.
            size: bytes of the body that are there now.
            more: whether others will follow.
            whole: the size that the body must have; None if the application may say it.
        """
        line = status_line(self.status)
        self.status = int(self.status)  # 200.0 is equal to 200, but cannot index the counters
        lines, length, close = heads.lines(line, self.headers, self.request_id)
        if length is not None and whole is not None and length != whole:
            raise BadAnswer(f"Content-Length {length}, but the file has {whole} bytes")
        self.length = whole if length is None else length
        self.close = self.close or close
        return lines + self._framing(size, more)

    def _framing(self, size: int, more: bool) -> bytes:
        """Decide how the body's end will be known (RFC 9112 section 6.3).

        Args:
            size: bytes of the body that are there now.
            more: whether others will follow.

        Returns:
            The last header lines and the empty line.
        """
        if self.length is None or self.status == 204 or self.status == 205:
            self._choose_framing(size, more)
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

    def _choose_framing(self, size: int, more: bool) -> None:
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
