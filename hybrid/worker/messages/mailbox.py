"""The worker's half of messages: what it sends, and who is called for what arrives."""

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
from hybrid.core.messages.mail import ALL, OUTBOX_LIMIT, MailKind, pack_body
from hybrid.errors import MailboxFull, NoReply, NoSuchWorker, NotInCluster, RequestFailed
from hybrid.shared_state.cluster_topics import cluster_topics
from hybrid.worker.hooks import Moment, Registered, Registry, is_cancelled
from hybrid.worker.messages.membership import To

# -- Messages that wait until a program asks for the next one --------------------


LIMIT = 1000  # messages that wait; more are refused, and an error is logged for each

M = TypeVar("M")


class Inbox(Generic[M]):
    """An async iterator that ends with the order to leave, after what came before it."""

    def __init__(self, opened: Callable[[], object], limit: int = LIMIT) -> None:
        """Call `opened` once, when somebody begins to iterate."""
        self._opened: Callable[[], object] | None = opened
        self._limit = limit
        self._waiting: deque[M] = deque()
        self._news = asyncio.Event()
        self._has_ended = False

    def opened(self) -> None:
        """Note that somebody takes messages from now on."""
        if self._opened is not None:
            call, self._opened = self._opened, None
            call()

    def put(self, message: M) -> bool:
        """Keep a message; return whether there was room for it."""
        if len(self._waiting) >= self._limit:
            logger.error("a message is refused: %d wait for the program to read", self._limit)
            return False
        self._waiting.append(message)
        self._news.set()
        return True

    def end(self) -> None:
        """End the iteration when what waits has been taken."""
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


logger = logging.getLogger("hybrid.error")

Server = Callable[[Any], Awaitable[None]]

_RECEIPT_PATIENCE = 10.0  # s; the primary answers at once unless it is in trouble


class Message:
    """What a handler gets. `sender` is a slot number; 0: the primary."""

    def __init__(self, mail: m.Mail, answer: Callable[[m.Mail], None]) -> None:
        self.body: Any = mail.body
        self.sender: int = mail.sender
        self.wants_reply = mail.kind == MailKind.REQUEST.value
        self._mail = mail
        self._answer = answer

    def reply(self, body: Any) -> None:
        """Answer a request; once, now or later. Nothing happens for a message without one.

        Raises:
            FrameTooLarge: over 64 KiB of JSON; the requester is told so, too.
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
        """Tell the requester that there will be no reply."""
        if self.wants_reply:
            self._finish(MailKind.FAILURE, text[:2000])

    def _finish(self, kind: MailKind, body: Any) -> None:
        self.wants_reply = False
        mail = self._mail
        self._answer(m.Mail(kind.value, mail.number, mail.to, body, origin=mail.origin))


def _check_receiver(to: object) -> None:
    """Raise NoSuchWorker for what no message can even be addressed to."""
    if not isinstance(to, int | str) or isinstance(to, bool):  # True is no slot
        raise NoSuchWorker(repr(to))
    if isinstance(to, int) and to.bit_length() > 63:  # nor is it JSON here
        raise NoSuchWorker("of so great a number")
    if isinstance(to, str) and not to.isascii():  # a lone surrogate is no JSON either
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

        A script's worker has an `inbox`, for what no handler takes, and a `server`,
        for when its function wants to serve.
        """
        self.slot = slot
        self.is_leader = False
        self._link = link
        self._loop = loop
        self._registry = registry
        self._numbers = itertools.count(1)
        self._owed: dict[int, asyncio.Future[Any]] = {}  # receipts and replies, by number
        self._running: set[asyncio.Task[None]] = set()  # handlers
        self._has_warned = False  # of messages that nobody takes
        self._inbox = inbox
        self._server = server

    # -- sending -------------------------------------------------------------------

    async def send(self, to: To, body: Any) -> None:
        """Send one message; see `hybrid.cluster.send`."""
        await self._exchange(MailKind.SEND, to, body, _RECEIPT_PATIENCE)

    async def broadcast(self, body: Any) -> list[int]:
        """Send to every other worker; see `hybrid.cluster.broadcast`."""
        reached: list[int] = await self._exchange(MailKind.SEND, ALL, body, _RECEIPT_PATIENCE)
        return reached

    async def request(self, to: To, body: Any, timeout: float) -> Any:
        """Send and wait for the reply; see `hybrid.cluster.request`."""
        return await self._exchange(MailKind.REQUEST, to, body, timeout)

    async def ping(self, to: To, timeout: float) -> float:
        """Return the seconds to there and back."""
        began = time.perf_counter()  # a loop's own clock may tick in milliseconds
        await self._exchange(MailKind.PING, to, None, timeout)
        return time.perf_counter() - began

    async def serve(self, app: Any) -> None:
        """Serve an application until the order to leave; see `hybrid.cluster.serve`."""
        if self._server is None:
            raise NotInCluster("this worker serves the application it was started with")
        await self._server(app)

    def messages(self) -> AsyncIterator[Message]:
        """Return what comes and no handler takes; see `hybrid.cluster.messages`."""
        if self._inbox is None:
            raise NotInCluster("messages() belongs to a script's worker; use on_message here")
        self._inbox.opened()
        return self._inbox

    async def _exchange(self, kind: MailKind, to: To, body: Any, timeout: float) -> Any:
        packed = pack_body(body)
        _check_receiver(to)
        if self._link.waiting > OUTBOX_LIMIT:
            raise MailboxFull([], self._link.waiting)
        number = next(self._numbers)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._owed[number] = future
        try:
            self._link.send(m.Mail(kind.value, number, to, packed))
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise NoReply(to, timeout) from None
        finally:
            del self._owed[number]

    # -- receiving -----------------------------------------------------------------

    def on_receipt(self, receipt: m.Receipt) -> None:
        """Take the primary's word on what became of a message."""
        future = self._owed.get(receipt.number)
        if future is None or future.done():
            return
        if receipt.full:
            future.set_exception(MailboxFull(receipt.full, receipt.waiting))
        elif receipt.missing:
            future.set_exception(NoSuchWorker(receipt.missing))
        elif receipt.final:
            future.set_result(receipt.reached)

    def on_mail(self, mail: m.Mail) -> None:
        """Take a message from somebody else."""
        if mail.kind in (MailKind.REPLY.value, MailKind.FAILURE.value):
            self._settle(mail)
        elif mail.kind == MailKind.PING.value:
            self._link.send(m.Mail(MailKind.REPLY.value, mail.number, "", None, origin=mail.origin))
        elif not cluster_topics.take(mail.body):
            self._handle(Message(mail, self._link.send))

    def _settle(self, mail: m.Mail) -> None:
        future = self._owed.get(mail.number)
        if future is None or future.done():
            return  # too late: whoever asked has given up
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
                logger.warning("a message found no on_message handler; no other will be logged")
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
