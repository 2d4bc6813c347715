"""Messages between a script's primary and its workers.

`MailRouter` carries messages among workers, as in ``hybrid serve``. The
difference: here the primary receives messages, and sends requests.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hybrid.core.messages import link_messages as m
from hybrid.core.messages.mail import OUTBOX_LIMIT, MailKind, pack_body
from hybrid.errors import MailboxFull, MailError, NoReply, NoSuchWorker, RequestFailed
from hybrid.primary.workers.process_table import WorkerHandle
from hybrid.worker.messages.mailbox import Message

logger = logging.getLogger("hybrid.error")

Then = Callable[[Any, MailError | None], object]  # (reply, None) or (None, why there is none)


@dataclass(frozen=True, slots=True)
class _PendingReply:
    """A request to a worker that has not been answered."""

    worker: int
    slot: int
    then: Then
    timeout: float  # s
    due: float  # monotonic s


class ScriptMail:
    """Sends messages and requests to workers, and matches their replies."""

    def __init__(
        self,
        workers: Mapping[int, WorkerHandle],
        send: Callable[[int, m.Message], None],
        answer: Callable[[int, m.Mail], None],
        take: Callable[[WorkerHandle, Message], object],
    ) -> None:
        """Pass messages of `workers` to `take`; `answer` sends the reply to a request of one."""
        self._workers = workers
        self._send = send
        self._answer = answer
        self._take = take
        self._numbers = itertools.count(1)
        self._pending: dict[int, _PendingReply] = {}

    def send(self, worker: int, slot: int, body: Any) -> None:
        """Send a message.

        Raises:
            FrameTooLarge: over 64 KiB of JSON.
            MailboxFull: the worker is not reading and its outbox is full; nothing was sent.
            NoSuchWorker: it has exited.
        """
        self._write(worker, slot, MailKind.SEND, next(self._numbers), body)

    def request(self, worker: int, slot: int, body: Any, then: Then, timeout: float) -> None:
        """Send a message; call `then` once, with its reply or the reason why there is none.

        Raises:
            FrameTooLarge, MailboxFull, NoSuchWorker: as for `send`; `then` is not called.
        """
        number = next(self._numbers)
        self._write(worker, slot, MailKind.REQUEST, number, body)
        due = time.monotonic() + timeout
        self._pending[number] = _PendingReply(worker, slot, then, timeout, due)

    def _write(self, worker: int, slot: int, kind: MailKind, number: int, body: Any) -> None:
        packed = pack_body(body)
        handle = self._workers.get(worker)
        if handle is None:
            raise NoSuchWorker(str(slot))
        if handle.channel.outbox_bytes > OUTBOX_LIMIT:
            raise MailboxFull([slot], handle.channel.outbox_bytes)
        self._send(worker, m.Mail(kind.value, number, slot, packed))

    # -- replies -------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """Return when the next request times out."""
        return min((pending.due for pending in self._pending.values()), default=None)

    def fail_overdue(self, now: float) -> None:
        """Call `then` of every request whose timeout has passed."""
        for number, pending in list(self._pending.items()):
            if pending.due <= now:
                self._settle(number, None, NoReply(pending.slot, pending.timeout))

    def note_exit(self, worker: int) -> None:
        """Call `then` of every request to a worker that has exited."""
        for number, pending in list(self._pending.items()):
            if pending.worker == worker:
                self._settle(number, None, NoSuchWorker(str(pending.slot)))

    def receive(self, handle: WorkerHandle, mail: m.Mail) -> None:
        """Handle a message that a worker has sent to the primary."""
        match mail.kind:
            case MailKind.REPLY.value:
                self._settle(mail.number, mail.body, None)
            case MailKind.FAILURE.value:
                self._settle(mail.number, None, RequestFailed(str(mail.body)))
            case _:
                named = m.Mail(mail.kind, mail.number, mail.to, mail.body, handle.slot)
                self._take(handle, Message(named, partial(self._answer, handle.id)))

    def _settle(self, number: int, reply: Any, why: MailError | None) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            return  # it was settled before: the reply came too late
        try:
            pending.then(reply, why)
        except Exception:
            logger.exception("the callback for a reply raised")
