"""The worker's half of messages: sending, and the handlers for messages that arrive."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

from hybrid.core.messages import link_messages as m
from hybrid.core.messages.mail import ALL, FAILURE_LIMIT, OUTBOX_LIMIT, MailKind, pack_body
from hybrid.errors import MailboxFull, NoReply, NoSuchWorker, NotInCluster, RequestFailed
from hybrid.shared_state.cluster_topics import cluster_topics
from hybrid.worker.hooks import Moment, Registered, Registry, is_cancelled
from hybrid.worker.messages.membership import To

logger = logging.getLogger("hybrid.error")

INBOX_LIMIT = 1000  # messages that wait; more are refused, and an error is logged for each
_RECEIPT_TIMEOUT = 10.0  # s; the primary answers at once unless it is in trouble

M = TypeVar("M")
Server = Callable[[Any], Awaitable[None]]


class Inbox(Generic[M]):
    """An async iterator over messages; ends with the order to leave, after earlier messages.

    It is limited because a program that computes without iterating would otherwise
    collect messages until the kernel kills its worker, and the messages with it. A
    refused message is an error at its sender, which can wait and try again.
    """

    def __init__(self, on_open: Callable[[], object], limit: int = INBOX_LIMIT) -> None:
        """Call `on_open` once, when the first iteration begins."""
        self._on_open = on_open
        self._is_open = False
        self._limit = limit
        self._waiting: deque[M] = deque()
        self._news = asyncio.Event()
        self._has_ended = False

    def open(self) -> None:
        """Note that the program takes messages from now on."""
        if not self._is_open:
            self._is_open = True
            self._on_open()

    def put(self, message: M) -> bool:
        """Keep a message; return whether there was room for it."""
        if len(self._waiting) >= self._limit:
            logger.error("a message is refused: %d wait for the program to read", self._limit)
            return False
        self._waiting.append(message)
        self._news.set()
        return True

    def end(self) -> None:
        """End the iteration after the messages that wait now."""
        self._has_ended = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        while not self._waiting:
            if self._has_ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


class Message:
    """A message as its handler gets it. `sender` is a slot number; 0: the primary."""

    def __init__(self, mail: m.Mail, answer: Callable[[m.Mail], None]) -> None:
        self.body: Any = mail.body
        self.sender: int = mail.sender
        self.wants_reply = mail.kind == MailKind.REQUEST.value
        self._mail = mail
        self._answer = answer

    def reply(self, body: Any) -> None:
        """Answer a request, once, now or later; no effect on a message that is not a request.

        Raises:
            FrameTooLarge: over 64 KiB of JSON; the requester gets a failure.
        """
        if not self.wants_reply:
            return
        try:
            packed = pack_body(body)
        except Exception as ex:
            self.fail(f"the reply cannot be sent: {ex}")
            raise
        self._finish(MailKind.REPLY, packed)

    def fail(self, text: str) -> None:
        """Answer a request with an error instead of a reply."""
        if self.wants_reply:
            # A lone surrogate, as in the name of a file that is not UTF-8, is not JSON.
            sendable = text[:FAILURE_LIMIT].encode(errors="backslashreplace").decode()
            self._finish(MailKind.FAILURE, sendable)

    def _finish(self, kind: MailKind, body: Any) -> None:
        self.wants_reply = False
        mail = self._mail
        self._answer(m.Mail(kind.value, mail.number, mail.to, body, origin=mail.origin))


def _check_receiver(to: object) -> None:
    """Raise NoSuchWorker for an address that the link cannot carry."""
    if not isinstance(to, int | str) or isinstance(to, bool):  # True is not a slot
        raise NoSuchWorker(repr(to))
    if isinstance(to, int) and to.bit_length() > 63:  # orjson cannot encode it
        raise NoSuchWorker("of a number over 63 bits")
    if isinstance(to, str) and not to.isascii():  # a lone surrogate cannot be encoded
        raise NoSuchWorker(ascii(to))


class Mailbox:
    """Sends and receives; a `hybrid.worker.messages.membership.Membership`."""

    def __init__(
        self,
        slot: int,
        link: Any,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
        inbox: Inbox[Message] | None = None,
        server: Server | None = None,
    ) -> None:
        """Use a link with ``send(message)`` and ``waiting`` bytes.

        A script's worker has an `inbox`, for messages without a handler, and a
        `server`, which serves an application when its function asks for it.
        """
        self.slot = slot
        self.is_leader = False
        self._link = link
        self._loop = loop
        self._registry = registry
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}  # receipts and replies, by number
        self._running: set[asyncio.Task[None]] = set()  # handlers
        self._has_warned = False  # of messages without a handler
        self._inbox = inbox
        self._server = server

    # -- sending -------------------------------------------------------------------

    async def send(self, to: To, body: Any) -> None:
        """Send one message; see `hybrid.cluster.send`."""
        await self._exchange(MailKind.SEND, to, body, _RECEIPT_TIMEOUT)

    async def broadcast(self, body: Any) -> list[int]:
        """Send to every other worker; see `hybrid.cluster.broadcast`."""
        reached: list[int] = await self._exchange(MailKind.SEND, ALL, body, _RECEIPT_TIMEOUT)
        return reached

    async def request(self, to: To, body: Any, timeout: float) -> Any:
        """Send and wait for the reply; see `hybrid.cluster.request`."""
        return await self._exchange(MailKind.REQUEST, to, body, timeout)

    async def ping(self, to: To, timeout: float) -> float:
        """Send and wait for an answer of hybrid itself; see `hybrid.cluster.ping`."""
        began = time.perf_counter()  # the loop's own clock may count in milliseconds
        await self._exchange(MailKind.PING, to, None, timeout)
        return time.perf_counter() - began

    async def serve(self, app: Any) -> None:
        """Serve an application until the order to leave; see `hybrid.cluster.serve`."""
        if self._server is None:
            raise NotInCluster("this worker serves the application it was started with")
        await self._server(app)

    def messages(self) -> AsyncIterator[Message]:
        """Return the messages without a handler; see `hybrid.cluster.messages`."""
        if self._inbox is None:
            raise NotInCluster("messages() belongs to a script's worker; use on_message here")
        self._inbox.open()
        return self._inbox

    async def _exchange(self, kind: MailKind, to: To, body: Any, timeout: float) -> Any:
        packed = pack_body(body)
        _check_receiver(to)
        if self._link.waiting > OUTBOX_LIMIT:
            raise MailboxFull([], self._link.waiting)
        number = next(self._numbers)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._pending[number] = future
        try:
            self._link.send(m.Mail(kind.value, number, to, packed))
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise NoReply(to, timeout) from None
        finally:
            del self._pending[number]

    # -- receiving -----------------------------------------------------------------

    def on_receipt(self, receipt: m.Receipt) -> None:
        """Settle a send, or fail a request, by the primary's receipt."""
        future = self._pending.get(receipt.number)
        if future is None or future.done():
            return
        if receipt.full:
            future.set_exception(MailboxFull(receipt.full, receipt.waiting))
        elif receipt.missing:
            future.set_exception(NoSuchWorker(receipt.missing))
        elif receipt.final:
            future.set_result(receipt.reached)

    def on_mail(self, mail: m.Mail) -> None:
        """Settle a request by its answer, or pass a message to its handlers."""
        if mail.kind in (MailKind.REPLY.value, MailKind.FAILURE.value):
            self._settle(mail)
        elif mail.kind == MailKind.PING.value:
            self._link.send(m.Mail(MailKind.REPLY.value, mail.number, "", None, origin=mail.origin))
        elif not cluster_topics.take(mail.body):
            self._handle(Message(mail, self._link.send))

    def _settle(self, mail: m.Mail) -> None:
        future = self._pending.get(mail.number)
        if future is None or future.done():
            return  # too late: the request has timed out
        if mail.kind == MailKind.FAILURE.value:
            future.set_exception(RequestFailed(str(mail.body)))
        else:
            future.set_result(mail.body)

    def _handle(self, message: Message) -> None:
        handlers = self._registry.at(Moment.MESSAGE)
        if not handlers and self._inbox is not None:
            if not self._inbox.put(message):
                message.fail(f"worker {self.slot} has too many unread messages")
        elif not handlers:
            message.fail(f"worker {self.slot} has no on_message handler")
            if not self._has_warned:
                self._has_warned = True
                logger.warning("a message had no on_message handler; further ones are not logged")
        for handler in handlers:
            task = self._loop.create_task(self._call(handler, message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _call(self, handler: Registered, message: Message) -> None:
        try:
            result = handler.call(message)
            if inspect.isawaitable(result):
                await asyncio.wait_for(result, handler.timeout)
        except (Exception, asyncio.CancelledError) as ex:
            if is_cancelled():
                raise
            name = getattr(handler.call, "__qualname__", repr(handler.call))
            logger.exception("message handler %s raised", name)
            message.fail(f"handler {name} raised {type(ex).__name__}: {ex}")
