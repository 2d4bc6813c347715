"""One request and its answer: what ASGI calls receive and send.

    on the wire --> reader --> Request.chunks --> receive() --> the application
    on the wire <-- Connection.write <-- Answer <-- send() <-- the application

    NOTHING --start--> HELD --first piece of body--> STREAMING --last piece--> COMPLETE
                         +---------- the whole body at once --------------------^

Rule 1: an exchange ends exactly once, by `_end`: with its answer complete, or
        with its client gone.
Rule 2: after that `receive` returns ``http.disconnect``, and `send` raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from enum import IntEnum
from http import HTTPStatus
from time import perf_counter
from typing import Any

from hybrid.core.departure import Departure
from hybrid.http.answer.answer import CONTINUE, Answer, stable_bytes
from hybrid.http.answer.heads import BadAnswer
from hybrid.http.exchange.client_connection import ClientConnection
from hybrid.http.exchange.files import open_regular, send_file
from hybrid.http.exchange.scope import http_scope
from hybrid.http.problem import PROBLEM_JSON, problem, usable_id
from hybrid.http.request.message import Header, Request
from hybrid.http.request.refusal import ClientGone
from hybrid.http.shared import Message

logger = logging.getLogger("hybrid.error")

CLIENT_GONE = 499  # the status in the log of an answer whose client left before it was complete
_READ_OVER = 64 * 1024  # bytes of unread body that are worth keeping the connection for


class Progress(IntEnum):
    """How far the answer is; ordered, so that `progress < COMPLETE` is a question."""

    NOTHING = 0
    HELD = 1  # the application has started it; no byte is written
    STREAMING = 2  # the head is written
    COMPLETE = 3
    GONE = 4  # the client left, or the server answered in the application's place


# Names of this module, because these are read for every request: see `connection_states`.
_NOTHING, _HELD, _STREAMING = Progress.NOTHING, Progress.HELD, Progress.STREAMING
_COMPLETE, _GONE = Progress.COMPLETE, Progress.GONE


class Exchange:
    """One HTTP request and its answer.

    What most exchanges never change is a default of the class: an attribute
    that is not written costs nothing.
    """

    task: asyncio.Task[None] | None = None  # runs the application
    progress = _NOTHING
    status = CLIENT_GONE
    sent = 0  # bytes of body
    closes = False  # the connection ends with this answer
    answer: Answer | None = None  # what goes out in more than one piece
    _start: Message  # http.response.start as the application sent it, from HELD on
    _body_given = False  # `receive` has returned the last piece of the request's body
    _changed: asyncio.Event | None = None  # made by the first `receive` that has to wait

    def __init__(self, connection: ClientConnection, request: Request) -> None:
        self.began = perf_counter()
        self._connection = connection
        self.request = request
        self.departure = departure = Departure()
        given = request.request_id
        shared = connection.shared
        if given is None:
            self.request_id = request_id = shared.new_request_id()
        else:
            self.request_id = request_id = usable_id(given) or shared.new_request_id()
        self.scope = http_scope(connection, request, request_id, departure)

    # -- receive -------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next piece of the body; after the end ``http.disconnect``."""
        request = self.request
        while True:
            if self.progress >= _COMPLETE:
                return {"type": "http.disconnect"}
            if not self._body_given and (request.ended or request.buffered):
                more = not request.ended
                body = request.take_body() if request.buffered else b""
                if more:
                    self._connection.pace()
                else:
                    self._body_given = True
                return {"type": "http.request", "body": body, "more_body": more}
            self._invite_body()
            await self._wait_for_change()

    def _invite_body(self) -> None:
        """Say 100 Continue to a client that waits for it."""
        request = self.request
        if request.expects_continue and self.progress < _STREAMING and not request.ended:
            request.expects_continue = False
            self._connection.write(CONTINUE)
            self._connection.pace()

    async def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        self._changed.clear()
        await self._changed.wait()

    # -- send ----------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Write one message of the answer; waits while the client reads too slowly.

        Raises:
            ClientGone: the client has left, or the server has answered in the application's place.
            BadAnswer: the message would not make a valid HTTP answer.
        """
        if self.progress is _GONE:
            raise ClientGone("the client has left")
        kind = message["type"]
        if kind == "http.response.start":
            if self.progress is not _NOTHING:
                raise BadAnswer("http.response.start was sent twice")
            self._start = message
            self.progress = _HELD
            self.closes = not self._may_stay_open()
            return
        if kind == "http.response.body":
            body, more = message.get("body", b""), message.get("more_body", False)
            if type(body) is not bytes:
                body = stable_bytes(body)
            if self.progress is not _HELD:
                self._write_more(body, more)
            elif more or not self._write_whole(body):
                self._write_first(body, more)
        elif kind == "http.response.pathsend":
            await self._send_file(message["path"])
        else:
            raise BadAnswer(f"{kind!r} is not a message of an HTTP answer")
        if self._connection.is_write_paused:
            await self._wait_for_reader()

    async def _wait_for_reader(self) -> None:
        await self._connection.wait_writable()
        if self.progress is _GONE:
            raise ClientGone("the client has left")

    def _may_stay_open(self) -> bool:
        """Decide, once per answer, whether another request may follow it."""
        request = self.request
        return (
            request.keep_alive
            and (request.ended or self._is_worth_reading_over())
            and self._connection.may_stay_open()
        )

    def _new_answer(self, status: int, headers: Any) -> Answer:
        request = self.request
        return Answer(
            status,
            headers,
            self.request_id,
            to=request.method,
            is_http_1_0=request.http_version == "1.0",
            close=self.closes,
        )

    def _is_worth_reading_over(self) -> bool:
        """Return whether the unread rest of the body is short, and the client sends it anyway."""
        request = self.request
        left = request.content_length - request.taken
        return 0 <= left <= _READ_OVER and not request.expects_continue

    def _write_whole(self, body: bytes) -> bool:
        """Write an answer that is complete, if it is of the usual kind: nearly all are."""
        request, connection = self.request, self._connection
        if self.closes or request.method == "HEAD" or request.http_version != "1.1":
            return False
        status, headers = self._start["status"], self._start.get("headers", ())
        if not isinstance(headers, (list, tuple)):
            self._start["headers"] = headers = list(headers)  # perhaps an iterator
        data = connection.shared.heads.whole(status, headers, self.request_id, body)
        if data is None:
            return False
        connection.shared.coalescer.send(connection, data)
        self.sent = len(body)
        self._end(_COMPLETE, status)
        return True

    def _write_first(self, body: bytes, more: bool) -> None:
        """Write the head, and the first piece of the body behind it."""
        answer = self._started_answer()
        pieces = answer.first(self._connection.shared.heads, body, more)
        self._start_streaming(answer)
        self._connection.write_all(pieces)
        self.sent = answer.sent
        if not more:
            self._end(_COMPLETE, answer.status)

    def _write_more(self, body: bytes, more: bool) -> None:
        """Write one more piece of the body."""
        answer = self.answer
        if answer is None or self.progress is not _STREAMING:
            raise BadAnswer("http.response.body before http.response.start or after the end")
        self._connection.write_all(answer.more(body, more))
        self.sent = answer.sent
        if not more:
            answer.check_complete()
            self._end(_COMPLETE, answer.status)

    def _started_answer(self) -> Answer:
        """Return the answer that http.response.start described."""
        start = self._start
        return self._new_answer(start["status"], start.get("headers", ()))

    def _start_streaming(self, answer: Answer) -> None:
        """Note that the head is rendered; only now is it known to be valid."""
        self.answer = answer
        self.closes = answer.close
        self.status = answer.status
        self.progress = _STREAMING

    async def _send_file(self, path: str) -> None:
        """Send a whole file as the body, by the kernel where that is possible."""
        if self.progress is not _HELD:
            raise BadAnswer("http.response.pathsend comes right after http.response.start")
        answer = self._started_answer()
        with open_regular(path) as file:
            head, size = answer.before_file(self._connection.shared.heads, file)
            self._start_streaming(answer)
            if answer.bodiless:
                self._connection.write(head)
            else:
                answer.sent = self.sent = await send_file(
                    self._connection, self.departure, head, file, size
                )
                if self.progress is _GONE:
                    raise ClientGone("the client left before it had the whole file")
        answer.check_complete()
        self._end(_COMPLETE, answer.status)

    # -- the end -------------------------------------------------------------------

    def wake(self) -> None:
        """Wake `receive`: more of the body has come, or the exchange has ended."""
        if self._changed is not None:
            self._changed.set()

    def _end(self, progress: Progress, status: int) -> None:
        self.progress = progress
        self.status = status
        if self._changed is not None:
            self._changed.set()
        self._connection.exchange_ended(self)

    # -- when the application fails --------------------------------------------------

    def give_up(self, reason: str) -> None:
        """End an answer that the application has left incomplete, and log the reason."""
        if self.progress < _COMPLETE:
            self.log_error(reason, None)
            self.break_off()

    def log_error(self, reason: str, ex: BaseException | None) -> None:
        """Log `reason` with what identifies the request, and the traceback of `ex`."""
        request = self.request
        logger.error(
            "%s request_id=%s %s %s",
            reason,
            self.request_id,
            request.method,
            ascii(request.path),
            exc_info=ex,
        )

    def break_off(self) -> None:
        """Answer 500; cut the connection if the head is out."""
        if self.progress is _STREAMING:
            # A clean end would make what is written look like the whole answer.
            self._connection.abort()
        else:
            self.answer_instead(500, "the application failed; the log has the request id")

    def answer_instead(
        self, status: int, detail: str, *, close: bool = False, more: Sequence[Header] = ()
    ) -> None:
        """Answer in the application's place; nothing of its own answer is out yet."""
        body = problem(status, HTTPStatus(status).phrase, detail, self.request_id)
        headers = [(b"content-type", PROBLEM_JSON.encode()), *more]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        self.closes = close or not self._may_stay_open()
        answer = self._new_answer(status, headers)
        self._connection.write_all(answer.first(self._connection.shared.heads, body, False))
        self.sent = answer.sent
        self._end(_GONE, status)

    def refuse(self, status: int, detail: str) -> None:
        """Answer `status` and close, or cut an answer that has begun: the request is unusable."""
        if self.progress is _STREAMING:
            self._connection.abort()
        elif self.progress < _STREAMING:
            self.answer_instead(status, detail, close=True)
            self.departure.trigger()

    # -- called by the connection ----------------------------------------------------

    def refuse_bad_handshake(self) -> bool:
        """Return False: an HTTP request has no handshake."""
        return False

    def time_out(self) -> None:
        """Refuse the request: the rest of its body has not come in time."""
        self.refuse(408, "the body did not come in time (--body-timeout)")

    def drain(self) -> None:
        """Do nothing: while the server drains, an HTTP exchange goes on to its end."""

    def receive_frames(self, data: bytes) -> None:
        """Do nothing: only a WebSocket gets bytes behind an upgrade."""

    def pace_writing(self) -> None:
        """Do nothing: for HTTP, `wait_writable` makes the application wait."""

    def lose_client(self) -> None:
        """End without a complete answer, and trigger the departure: the client has left."""
        if self.progress < _COMPLETE:
            # It may have read all that was announced, and left before the application's last send.
            answer = self.answer
            is_whole = answer is not None and answer.is_whole()
            self._end(_GONE, self.status if is_whole else CLIENT_GONE)
        self.departure.trigger()
