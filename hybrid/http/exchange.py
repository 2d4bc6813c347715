"""One request and its answer: what ASGI calls receive and send.

    on the wire --> reader --> Request.chunks --> receive() --> the application
    on the wire <-- Connection.write <-- head + framing <-- send() <-- the application

The answer's head is held until its first body message: an answer that is
complete by then leaves in one write, with Content-Length.

Rule 1: an exchange ends exactly once, by `_end`: with its answer complete, or
        with its client gone.
Rule 2: after that the application hears ``http.disconnect``, and `send` raises.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hybrid.http.answer import CONTINUE, Answer, BadAnswer
from hybrid.http.files import send_file
from hybrid.http.message import Request
from hybrid.http.refusal import ClientGone, problem
from hybrid.http.shared import Message
from hybrid.pool.client import Departure

if TYPE_CHECKING:
    from hybrid.http.connection import Connection

logger = logging.getLogger("hybrid.error")

CLIENT_GONE = 499  # the status in the log of an answer that nobody waited for
_JOINED = 64 * 1024  # bytes of body up to which copying is cheaper than two buffers
SWALLOWED = 64 * 1024  # bytes of unread body that are worth keeping the connection for
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def usable_id(given: bytes | None) -> bytes | None:
    """Return the client's request id if it is harmless in headers, logs and file names."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None


class Progress(IntEnum):
    """How far the answer is."""

    NOTHING = 0
    HELD = 1  # the application has started it; no byte is written
    STREAMING = 2  # the head is written
    COMPLETE = 3
    GONE = 4  # the client left, or the server answered in the application's place


class Exchange:
    """One HTTP request and its answer."""

    __slots__ = (
        "_answer",
        "_body_given",
        "_connection",
        "_left",
        "_news",
        "began",
        "departure",
        "progress",
        "request",
        "request_id",
        "scope",
        "sent",
        "status",
        "task",
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._answer: Answer | None = None
        self._body_given = False
        self._left = 0  # bytes of body still announced
        self._news: asyncio.Event | None = None
        self.request = request
        self.progress = Progress.NOTHING
        self.departure = Departure()
        self.status = CLIENT_GONE
        self.sent = 0  # bytes of body
        self.began = perf_counter()
        self.task: asyncio.Task[None] | None = None
        shared = connection.shared
        self.request_id = usable_id(request.request_id) or shared.new_request_id()
        self.scope = self._make_scope()

    def _make_scope(self) -> dict[str, Any]:
        request, connection = self.request, self._connection
        shared = connection.shared
        root_path = shared.settings.root_path
        path, raw_path, query = request.locate(root_path)
        client, scheme = connection.client, connection.scheme
        if connection.is_trusted:
            client, scheme = connection.forwarded(request)
        state = shared.state.copy()
        state["request_id"] = self.request_id.decode()
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version,
            "method": request.method,
            "scheme": scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": root_path,
            "headers": request.headers,
            "client": client,
            "server": connection.server,
            "state": state,
            "extensions": {"http.response.pathsend": {}, "hybrid.departure": self.departure},
        }

    # -- running the application ---------------------------------------------------

    async def run(self) -> None:
        """Run the application to its end, whatever happens to the client meanwhile."""
        try:
            await self._connection.shared.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._give_up("the application was cancelled before its answer was complete")
        except ClientGone:
            self._give_up("the application left its answer incomplete")
        except Exception as ex:
            self._fail(ex)
        else:
            if self.progress < Progress.COMPLETE:
                self._give_up("the application returned before its answer was complete")
        finally:
            shared = self._connection.shared
            shared.running.discard(self)
            if shared.draining:
                shared.ended()

    def _fail(self, ex: BaseException) -> None:
        """The application raised: its client gets a 500, or as much of an end as is honest."""
        if self.progress is Progress.GONE and isinstance(ex, OSError):
            return
        self._log_error(f"{type(ex).__name__} in the application", ex)
        if self.progress < Progress.COMPLETE:
            self._break_off()

    def _give_up(self, reason: str) -> None:
        if self.progress < Progress.COMPLETE:
            self._log_error(reason, None)
            self._break_off()

    def _log_error(self, reason: str, ex: BaseException | None) -> None:
        logger.error(
            "%s request_id=%s %s %s",
            reason,
            self.request_id.decode(),
            self.request.method,
            ascii(self.scope["path"]),
            exc_info=ex,
        )

    def _break_off(self) -> None:
        if self.progress is Progress.STREAMING:
            # The head is out: only a connection that ends early tells the truth now.
            self._connection.abort()
        else:
            self.answer_instead(500, "the application failed; the log has the request id")

    def answer_instead(self, status: int, detail: str, *, close: bool = False) -> None:
        """Answer in the application's place; nothing of its own answer is out yet."""
        body = problem(status, detail, self.request_id.decode())
        headers = [(b"content-type", b"application/problem+json")]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        answer = self._new_answer(status, headers)
        answer.close = answer.close or close
        self._answer = answer
        self._write_head(answer, body, more=False)
        self._end(Progress.GONE, status)

    def refuse(self, status: int, detail: str) -> None:
        """The rest of the request is unusable: answer and close, or cut what has begun."""
        if self.progress is Progress.STREAMING:
            self._connection.abort()
            return
        if self.progress < Progress.STREAMING:
            self.answer_instead(status, detail, close=True)
            self.departure.trigger()

    # -- what a connection asks of its exchange --------------------------------------

    def is_refused(self) -> bool:
        """Return whether the request was answered without the application."""
        return False

    def time_out(self) -> None:
        """The client owes us the rest of its body."""
        self.refuse(408, "the body did not come in time (--body-timeout)")

    def go_away(self) -> None:
        """The server drains: an HTTP exchange simply goes on to its end."""

    def take_frames(self, data: bytes) -> None:
        """Bytes behind an upgrade; an HTTP exchange has none."""

    # -- receive -------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next piece of the body, later the news that the client is gone."""
        request = self.request
        while True:
            if self.progress >= Progress.COMPLETE:
                return {"type": "http.disconnect"}
            if not self._body_given and (request.buffered or request.ended):
                body = request.take_body() if request.buffered else b""
                more = not request.ended
                if more:
                    self._connection.pace()
                else:
                    self._body_given = True
                return {"type": "http.request", "body": body, "more_body": more}
            self._invite_body()
            await self._wait_for_news()

    def _invite_body(self) -> None:
        """Say 100 Continue to a client that waits for it."""
        request = self.request
        if request.expects_continue and self.progress < Progress.STREAMING and not request.ended:
            request.expects_continue = False
            self._connection.write(CONTINUE)
            self._connection.pace()

    async def _wait_for_news(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()

    def wake(self) -> None:
        """Something has changed for `receive`: more body, or the end."""
        if self._news is not None:
            self._news.set()

    # -- send ----------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take one message of the answer; waits while the client reads too slowly.

        Raises:
            ClientGone: nobody reads the answer any more.
            BadAnswer: the message would not make a valid HTTP answer.
        """
        progress = self.progress
        if progress is Progress.GONE:
            raise ClientGone("the client is gone")
        kind = message["type"]
        if kind == "http.response.body":
            self._take_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start":
            if progress is not Progress.NOTHING:
                raise BadAnswer("http.response.start was sent twice")
            self._answer = self._new_answer(message["status"], message.get("headers", ()))
            self.progress = Progress.HELD
        elif kind == "http.response.pathsend":
            await self._send_file(message["path"])
        else:
            raise BadAnswer(f"{kind!r} is no message of an HTTP answer")
        if self._connection.is_write_paused:
            await self._connection.wait_writable()
            if self.progress is Progress.GONE:
                raise ClientGone("the client is gone")

    def _new_answer(self, status: int, headers: Any) -> Answer:
        request = self.request
        return Answer(
            status,
            headers,
            self.request_id,
            to=request.method,
            is_http_1_0=request.http_version == "1.0",
            close=not (request.keep_alive and self._connection.may_stay_open())
            or not (request.ended or self._is_worth_swallowing()),
        )

    def _is_worth_swallowing(self) -> bool:
        """Return whether the unread body is short and surely on its way."""
        request = self.request
        left = request.content_length - request.taken
        return 0 <= left <= SWALLOWED and not request.expects_continue

    def _take_body(self, body: bytes, more: bool) -> None:
        answer = self._answer
        if answer is None or self.progress is Progress.COMPLETE:
            raise BadAnswer("http.response.body before http.response.start or after the end")
        if self.progress is Progress.HELD:
            self._write_head(answer, body, more=more)
        elif not answer.bodiless:
            self._write_more(answer, body, more=more)
        if not more:
            self._finish(answer)

    def _write_head(self, answer: Answer, body: bytes, *, more: bool) -> None:
        size = len(body)
        head = self._connection.shared.heads.render(answer, size, more)
        self.status = answer.status
        if answer.bodiless:
            self.progress = Progress.STREAMING
            self._connection.write(head)
            return
        if answer.length is not None:
            self._left = answer.length
        if answer.chunked:
            self.progress = Progress.STREAMING
            self._connection.write(head)
            self._write_more(answer, body, more=more)
            return
        self._count(answer, size)
        self.progress = Progress.STREAMING
        if size <= _JOINED:
            self._connection.write(head + body if size else head)
        else:
            self._connection.write_both(head, body)

    def _write_more(self, answer: Answer, body: bytes, *, more: bool) -> None:
        size = len(body)
        self._count(answer, size)
        if not answer.chunked:
            if size:
                self._connection.write(body)
            return
        end = b"" if more else b"0\r\n\r\n"
        if size > _JOINED:
            self._connection.write(b"%x\r\n" % size)
            self._connection.write_both(body, b"\r\n" + end)
        elif size:
            self._connection.write(b"%x\r\n%b\r\n%b" % (size, body, end))
        elif end:
            self._connection.write(end)

    def _count(self, answer: Answer, size: int) -> None:
        self.sent += size
        if answer.length is not None:
            self._left -= size
            if self._left < 0:
                raise BadAnswer(f"the body is longer than its Content-Length, {answer.length}")

    def _finish(self, answer: Answer) -> None:
        if self._left and not answer.bodiless:
            raise BadAnswer(f"the body ends {self._left} bytes before its Content-Length")
        self._end(Progress.COMPLETE, answer.status)

    async def _send_file(self, path: str) -> None:
        """Send a whole file as the body, by the kernel where that is possible."""
        answer, connection = self._answer, self._connection
        if answer is None or self.progress is not Progress.HELD:
            raise BadAnswer("http.response.pathsend comes right after http.response.start")
        with open(path, "rb") as file:  # noqa: ASYNC230 - opening is quick; reading is sendfile's
            size = os.fstat(file.fileno()).st_size
            head = connection.shared.heads.render(answer, size, more=False)
            if answer.length is not None and answer.length != size and not answer.bodiless:
                raise BadAnswer(f"Content-Length {answer.length}, but {path} has {size} bytes")
            self.status = answer.status
            self.progress = Progress.STREAMING
            if answer.bodiless:
                connection.write(head)
            else:
                self.sent = await send_file(connection, self.departure, head, file, size)
                if self.progress is Progress.GONE:
                    raise ClientGone("the client left before it had the whole file")
                self._left = size - self.sent
        self._finish(answer)

    # -- the end -------------------------------------------------------------------

    def depart(self) -> None:
        """The client is gone before its answer was complete."""
        if self.progress < Progress.COMPLETE:
            self._end(Progress.GONE, CLIENT_GONE)
        self.departure.trigger()

    def _end(self, progress: Progress, status: int) -> None:
        self.progress = progress
        self.status = status
        if self._news is not None:
            self._news.set()
        self._connection.exchange_ended(self)

    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return perf_counter() - self.began

    @property
    def closes(self) -> bool:
        """Return whether the answer said ``Connection: close``."""
        return self._answer is None or self._answer.close
