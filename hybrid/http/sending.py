"""The answer half of an exchange: what ASGI calls send.

    send() --> Answer --> Connection.write

    NOTHING --start--> HELD --first piece of body--> STREAMING --last piece--> COMPLETE
                         +---------- the whole body at once --------------------^

Rule 1: an answer ends exactly once, by `_end`: complete, or with its client gone.
Rule 2: after that `send` raises.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hybrid.http.answer import Answer, BadAnswer, settled
from hybrid.http.files import open_regular, send_file
from hybrid.http.message import Request
from hybrid.http.refusal import ClientGone
from hybrid.http.shared import Message
from hybrid.pool.client import Departure

if TYPE_CHECKING:
    from hybrid.http.dialogue import Dialogue

CLIENT_GONE = 499  # the status in the log of an answer that nobody waited for
SWALLOWED = 64 * 1024  # bytes of unread body that are worth keeping the connection for


class Progress(IntEnum):
    """How far the answer is."""

    NOTHING = 0
    HELD = 1  # the application has started it; no byte is written
    STREAMING = 2  # the head is written
    COMPLETE = 3
    GONE = 4  # the client left, or the server answered in the application's place


# An attribute of an Enum is a Python call before 3.12, and these are asked per request.
_NOTHING, _HELD, _STREAMING = Progress.NOTHING, Progress.HELD, Progress.STREAMING
_COMPLETE, _GONE = Progress.COMPLETE, Progress.GONE


class Sending:
    """An answer on its way from the application to the connection.

    What most answers never change is a default of the class: an attribute
    that is not written costs nothing.
    """

    request: Request
    request_id: str
    departure: Departure
    scope: dict[str, Any]
    began: float  # by `time.perf_counter`
    _connection: Dialogue

    progress = _NOTHING
    status = CLIENT_GONE
    sent = 0  # bytes of body
    closes = False  # the connection ends with this answer
    answer: Answer | None = None  # what goes out in more than one piece
    _start: Message  # as the application sent it, from HELD on
    _news: asyncio.Event | None = None  # somebody waits in `receive`

    async def send(self, message: Message) -> None:
        """Take one message of the answer; waits while the client reads too slowly.

        Raises:
            ClientGone: nobody reads the answer any more.
            BadAnswer: the message would not make a valid HTTP answer.
        """
        if self.progress is _GONE:
            raise ClientGone("the client is gone")
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
                body = settled(body)
            if self.progress is not _HELD:
                self._take_more(body, more)
            elif more or not self._take_whole(body):
                self._take_first(body, more)
        elif kind == "http.response.pathsend":
            await self._send_file(message["path"])
        else:
            raise BadAnswer(f"{kind!r} is no message of an HTTP answer")
        if self._connection.is_write_paused:
            await self._wait_for_the_client()

    async def _wait_for_the_client(self) -> None:
        await self._connection.wait_writable()
        if self.progress is _GONE:
            raise ClientGone("the client is gone")

    def _may_stay_open(self) -> bool:
        """Decide, once per answer, whether another request may follow it."""
        request = self.request
        return (
            request.keep_alive
            and (request.ended or self._is_worth_swallowing())
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

    def _is_worth_swallowing(self) -> bool:
        """Return whether the unread body is short and surely on its way."""
        request = self.request
        left = request.content_length - request.taken
        return 0 <= left <= SWALLOWED and not request.expects_continue

    def _take_whole(self, body: bytes) -> bool:
        """Write an answer that is complete, if it is of the usual kind: nearly all are."""
        request, connection = self.request, self._connection
        if self.closes or request.method == "HEAD" or request.http_version != "1.1":
            return False
        status, headers = self._start["status"], self._start.get("headers", ())
        if not isinstance(headers, (list, tuple)):
            self._start["headers"] = headers = list(headers)  # it may be read once only
        data = connection.shared.heads.whole(status, headers, self.request_id, body)
        if data is None:
            return False
        connection.shared.outbox.send(connection, data)
        self.sent = len(body)
        self._end(_COMPLETE, status)
        return True

    def _take_first(self, body: bytes, more: bool) -> None:
        """Write the head, and the first piece of the body behind it."""
        answer = self._begin_answer()
        pieces = answer.first(self._connection.shared.heads, body, more)
        self._began(answer)
        self._connection.write_all(pieces)
        self.sent = answer.sent
        if not more:
            self._end(_COMPLETE, answer.status)

    def _take_more(self, body: bytes, more: bool) -> None:
        """Write one more piece of the body."""
        answer = self.answer
        if answer is None or self.progress is not _STREAMING:
            raise BadAnswer("http.response.body before http.response.start or after the end")
        self._connection.write_all(answer.more(body, more))
        self.sent = answer.sent
        if not more:
            answer.check_complete()
            self._end(_COMPLETE, answer.status)

    def _begin_answer(self) -> Answer:
        start = self._start
        return self._new_answer(start["status"], start.get("headers", ()))

    def _began(self, answer: Answer) -> None:
        """The head is rendered, and so it is a valid one."""
        self.answer = answer
        self.closes = answer.close
        self.status = answer.status
        self.progress = _STREAMING

    async def _send_file(self, path: str) -> None:
        """Send a whole file as the body, by the kernel where that is possible."""
        if self.progress is not _HELD:
            raise BadAnswer("http.response.pathsend comes right after http.response.start")
        answer = self._begin_answer()
        with open_regular(path) as file:
            head, size = answer.before_file(self._connection.shared.heads, file)
            self._began(answer)
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
        """Something has changed for `receive`: more body, or the end."""
        if self._news is not None:
            self._news.set()

    def _end(self, progress: Progress, status: int) -> None:
        self.progress = progress
        self.status = status
        if self._news is not None:
            self._news.set()
        self._connection.exchange_ended(self)

    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return perf_counter() - self.began
