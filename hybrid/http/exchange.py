"""One request and its answer: what ASGI calls receive and send.

    on the wire --> reader --> Request.chunks --> receive() --> the application
    on the wire <-- Connection.write <-- Answer <-- send() <-- the application

Rule 1: an exchange ends exactly once, by `_end`: with its answer complete, or
        with its client gone.
Rule 2: after that the application hears ``http.disconnect``, and `send` raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from hybrid.http.answer import CONTINUE
from hybrid.http.message import Header, Request
from hybrid.http.refusal import ClientGone, problem, usable_id
from hybrid.http.scope import http_scope
from hybrid.http.sending import CLIENT_GONE, Progress, Sending
from hybrid.http.shared import Message
from hybrid.pool.client import Departure, current_departure

if TYPE_CHECKING:
    from hybrid.http.dialogue import Dialogue

logger = logging.getLogger("hybrid.error")

_ENDS = (SystemExit, KeyboardInterrupt)

_NOTHING, _STREAMING = Progress.NOTHING, Progress.STREAMING
_COMPLETE, _GONE = Progress.COMPLETE, Progress.GONE


class Exchange(Sending):
    """One HTTP request and its answer."""

    task: asyncio.Task[None] | None = None
    _body_given = False

    def __init__(self, connection: Dialogue, request: Request) -> None:
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

    # -- running the application ---------------------------------------------------

    async def run(self) -> None:
        """Run the application to its end, whatever happens to the client meanwhile.

        Its context knows the request's departure: so ``hybrid.submit`` finds
        it without being told.
        """
        shared = self._connection.shared
        current_departure.set(self.departure)
        try:
            await shared.app(self.scope, self.receive, self.send)
            if self.progress < _COMPLETE:
                self._give_up("the application returned before its answer was complete")
        except asyncio.CancelledError:
            self._give_up("the application was cancelled before its answer was complete")
        except ClientGone:
            self._give_up("the application left its answer incomplete")
        except BaseException as ex:
            if not shared.loop.is_running():
                raise  # GeneratorExit: the loop is over, and Python throws this coroutine away
            self._fail(ex)
            if _asks_for_an_end(ex):
                if shared.leave is None:
                    raise
                shared.leave(f"{type(ex).__name__} in the application")
        finally:
            shared.running.discard(self)
            if shared.draining:
                shared.ended()

    def _fail(self, ex: BaseException) -> None:
        """The application raised: its client gets a 500, or as much of an end as is honest."""
        if self.progress is _GONE and _is_about_the_client(ex):
            return
        if self.progress < _COMPLETE:
            self._break_off()
        self._log_error(f"{type(ex).__name__} in the application", ex)

    def _give_up(self, reason: str) -> None:
        if self.progress < _COMPLETE:
            self._log_error(reason, None)
            self._break_off()

    def _log_error(self, reason: str, ex: BaseException | None) -> None:
        request = self.request
        logger.error(
            "%s request_id=%s %s %s",
            reason,
            self.request_id,
            request.method,
            ascii(request.path),
            exc_info=ex,
        )

    def _break_off(self) -> None:
        if self.progress is _STREAMING:
            # The head is out: only a connection that ends early tells the truth now.
            self._connection.abort()
        else:
            self.answer_instead(500, "the application failed; the log has the request id")

    def answer_instead(
        self, status: int, detail: str, *, close: bool = False, more: Sequence[Header] = ()
    ) -> None:
        """Answer in the application's place; nothing of its own answer is out yet."""
        body = problem(status, detail, self.request_id)
        headers = [(b"content-type", b"application/problem+json"), *more]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        self.closes = close or not self._may_stay_open()
        answer = self._new_answer(status, headers)
        self._connection.write_all(answer.first(self._connection.shared.heads, body, False))
        self.sent = answer.sent
        self._end(_GONE, status)

    def refuse(self, status: int, detail: str) -> None:
        """The rest of the request is unusable: answer and close, or cut what has begun."""
        if self.progress is _STREAMING:
            self._connection.abort()
        elif self.progress < _STREAMING:
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

    def pace_writing(self) -> None:
        """The client reads too slowly, or has caught up; for HTTP that is the connection's."""

    def depart(self) -> None:
        """The client is gone before its answer was complete."""
        if self.progress < _COMPLETE:
            # It may have read all that was announced before the application said that this was all.
            answer = self.answer
            is_whole = answer is not None and answer.is_whole()
            self._end(_GONE, self.status if is_whole else CLIENT_GONE)
        self.departure.trigger()

    # -- receive -------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next piece of the body, later the news that the client is gone."""
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
            await self._wait_for_news()

    def _invite_body(self) -> None:
        """Say 100 Continue to a client that waits for it."""
        request = self.request
        if request.expects_continue and self.progress < _STREAMING and not request.ended:
            request.expects_continue = False
            self._connection.write(CONTINUE)
            self._connection.pace()

    async def _wait_for_news(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()


def _asks_for_an_end(ex: BaseException) -> bool:
    """Return whether the application wants its process to end, perhaps from a task group."""
    if isinstance(ex, BaseExceptionGroup):
        return ex.subgroup(_ENDS) is not None
    return isinstance(ex, _ENDS)


def _is_about_the_client(ex: BaseException) -> bool:
    """Return whether it says only that the client has left."""
    if isinstance(ex, BaseExceptionGroup):
        return ex.split(OSError)[1] is None
    return isinstance(ex, OSError)
