"""One request in a request thread: what the application reads, and what it answers.

     event-loop thread                          |  request thread
                                                |
     receive() <-- BodyStream.readinto <--------+-- environ["wsgi.input"].read()
     send() <-- deliver() <-- pieces <----------+-- the iterable, and write()

Rule 1: a piece leaves while the application makes the next one (PEP 3333, "Buffering and
        Streaming"); what is there when the loop looks leaves together. So a short answer, an
        iterable's too, is complete when the loop gets to it, and has a Content-Length.
Rule 2: a thread is `ROOM` bytes ahead of the client at most, then it waits. With its last
        piece handed over it is free: a slow reader holds the loop's memory, not a thread.
Rule 3: an application whose client is gone hears so at its next piece or read: `ClientGone`.
        Its iterable is closed like any other.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from hybrid.core.departure import Departure
from hybrid.http.request.refusal import ClientGone
from hybrid.wsgi.environ import FileWrapper
from hybrid.wsgi.request_threads import RequestThreads

ROOM = 64 * 1024  # bytes
_NAMES = 1024  # different header names whose bytes are remembered
_encoded: dict[str, bytes] = {}

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class BodyStream(io.RawIOBase):
    """The rest of a body that is still arriving, for a request thread to read."""

    def __init__(self, first: bytes, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self._piece, self._receive, self._loop = memoryview(first), receive, loop
        self._is_complete = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill `target` as far as there is something; wait if there is nothing.

        Raises:
            ClientGone: the client has left. A part of an upload is not the upload.
        """
        while not self._piece and not self._is_complete:
            message = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if message["type"] == "http.disconnect":
                raise ClientGone("the client left before its request was complete")
            self._piece = memoryview(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
        size = min(len(target), len(self._piece))
        target[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    async def _next(self) -> Any:
        return await self._receive()


class WsgiRequest:
    """Runs the application in a request thread and its answer's delivery on the loop."""

    def __init__(
        self,
        app: Callable[..., Any],
        environ: dict[str, Any],
        departure: Departure,
        threads: RequestThreads,
    ) -> None:
        self._app, self._environ = app, environ
        self._departure, self._threads = departure, threads
        self._context = copy_context()  # the application finds `current_departure` in it
        # Written by the request thread.
        self._start: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._pieces: deque[Any] = deque()
        self._given = 0  # bytes in all
        self._room: threading.Event | None = None
        self._file: int | None = None  # a descriptor whose file is the body
        self._error: BaseException | None = None
        self._is_whole = False  # the last piece is there
        self._is_over = False  # the application has returned and is closed
        # Written by the event loop's thread.
        self._taken = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_gone = False

    # -- in the request thread -------------------------------------------------------

    def run(self) -> None:
        """Call the application and go through its answer, unless its client has left already."""
        try:
            if not self._departure.happened:
                self._context.run(self._call)
        except BaseException as ex:
            self._error = ex
        self._is_over = True

    def _call(self) -> None:
        result = self._app(self._environ, self._start_response)
        close = getattr(result, "close", None)
        try:
            if isinstance(result, FileWrapper):
                self._file = result.duplicate(self._length())
            if self._file is None:
                self._give_all(result)
            if self._start is None:
                raise AssertionError("the application returned without start_response")
            self._is_whole = True
        finally:
            if close is not None:
                if self._is_whole:
                    self._threads.tell(self)
                close()

    def _give_all(self, result: Any) -> None:
        if isinstance(result, (list, tuple)):  # the next piece is there: no need to hurry
            for piece in result:
                self._give(piece)
        else:
            for piece in result:
                self._write(piece)

    def _write(self, piece: Any) -> None:
        """Hand a piece over and say so: the callable that ``start_response`` returns."""
        if piece:
            self._give(piece)
            self._threads.tell(self)

    def _give(self, piece: Any) -> None:
        if not isinstance(piece, (bytes, memoryview)):
            raise TypeError(f"a WSGI answer is made of bytes, not {type(piece).__name__}")
        if self._start is None:
            raise AssertionError("the first piece came before start_response")
        if not piece:
            return
        if self._given - self._taken > ROOM:  # before this piece: behind the last one none waits
            self._wait_for_room()
        if self._is_gone or self._departure.happened:
            raise ClientGone("the client is gone")
        self._given += len(piece)
        self._pieces.append(piece)

    def _wait_for_room(self) -> None:
        self._room = room = self._room or threading.Event()
        while self._given - self._taken > ROOM and not self._is_gone:
            self._threads.tell(self)
            room.wait()
            room.clear()

    def _start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info is not None:
            try:
                if self._given:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a traceback that holds its own frame is a circle
        elif self._start is not None:
            raise AssertionError("start_response was called again without exc_info")
        lines = [(_name(name), value.encode("latin-1")) for name, value in headers]
        self._start = (int(status[:3]), lines)
        return self._write

    def _length(self) -> int | None:
        """Return the Content-Length of the answer, if the application has said one."""
        headers = self._start[1] if self._start is not None else ()
        found = next((value for name, value in headers if name == b"content-length"), None)
        return int(found) if found is not None else None

    # -- on the event loop -----------------------------------------------------------

    def wake(self) -> None:
        """There is news."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def deliver(self, send: Send) -> None:
        """Send the answer as it comes; return when the application is over.

        Raises:
            BaseException: what the application raised, or the server's send.
        """
        is_started = is_complete = False
        try:
            while True:
                # In this order: what is true before the pieces are taken is true of them.
                is_over, is_whole = self._is_over, self._is_whole
                body = self._take()
                if is_over and not is_whole:
                    break
                is_due = body is not None or is_whole
                if is_due and not (is_complete or self._is_gone):
                    if not is_started:
                        is_started = True
                        await self._send_start(send)
                    await self._send_piece(send, body or b"", more=not is_whole)
                    is_complete = is_whole
                elif is_over:
                    break
                else:
                    await self._news()
                self._make_room(body)
        finally:
            self._leave()
        if self._error is not None:
            raise self._error

    async def _send_start(self, send: Send) -> None:
        assert self._start is not None  # the thread looks at it before every piece
        status, headers = self._start
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_piece(self, send: Send, body: Any, *, more: bool) -> None:
        try:
            if self._file is not None:
                path = f"/proc/self/fd/{self._file}"
                await send({"type": "http.response.pathsend", "path": path})
            else:
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except ClientGone:
            self._is_gone = True  # the application hears it from `_give`

    def _take(self) -> Any:
        """Return the pieces that are there in one, None if there are none."""
        pieces = self._pieces
        if not pieces:
            return None
        first = pieces.popleft()
        if not pieces:
            return first
        taken = [first]
        while pieces:
            taken.append(pieces.popleft())
        return b"".join(taken)

    def _make_room(self, body: Any) -> None:
        self._taken += len(body) if body is not None else 0
        if self._room is not None:
            self._room.set()

    async def _news(self) -> None:
        # Nothing is missed: what a thread does from here on it tells in a later turn of the loop.
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _leave(self) -> None:
        """Nothing is delivered any more: a thread that waits for room goes on, and hears so."""
        self._is_gone = True
        if self._room is not None:
            self._room.set()
        if self._file is not None:
            os.close(self._file)


def _name(name: str) -> bytes:
    """Return the name of a header in lower case, as ASGI wants it."""
    found = _encoded.get(name)
    if found is None:
        found = name.lower().encode("latin-1")
        if len(_encoded) < _NAMES:
            _encoded[name] = found
    return found
