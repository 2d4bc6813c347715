"""What a script's primary and its workers write to each other.

Messages among workers are the post's, as in ``hybrid serve``. What differs: here
the primary can be written to, and asks.
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
class _Owed:
    """A reply that a worker owes us."""

    worker: int
    slot: int
    then: Then
    timeout: float  # s
    due: float  # monotonic s


class Correspondence:
    """Messages from, to and through a script's primary."""

    def __init__(
        self,
        workers: Mapping[int, WorkerHandle],
        tell: Callable[[int, m.Message], None],
        answer: Callable[[int, m.Mail], None],
        take: Callable[[WorkerHandle, Message], object],
    ) -> None:
        """Pass what `workers` write to the primary to `take`; `answer` what they ask."""
        self._workers = workers
        self._tell = tell
        self._answer = answer
        self._take = take
        self._numbers = itertools.count(1)
        self._owed: dict[int, _Owed] = {}

    def send(self, worker: int, slot: int, body: Any) -> None:
        """Put a message on its way.

        Raises:
            FrameTooLarge: over 64 KiB of JSON.
            MailboxFull: too much already waits for that reader; nothing was sent.
            NoSuchWorker: it is gone.
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
        self._owed[number] = _Owed(worker, slot, then, timeout, due)

    def _write(self, worker: int, slot: int, kind: MailKind, number: int, body: Any) -> None:
        packed = pack_body(body)
        handle = self._workers.get(worker)
        if handle is None:
            raise NoSuchWorker(str(slot))
        if handle.channel.outbox_bytes > OUTBOX_LIMIT:
            raise MailboxFull([slot], handle.channel.outbox_bytes)
        self._tell(worker, m.Mail(kind.value, number, slot, packed))

    # -- replies -------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """Return when the next request has waited long enough."""
        return min((owed.due for owed in self._owed.values()), default=None)

    def look(self, now: float) -> None:
        """Tell those whose time is over."""
        for number, owed in list(self._owed.items()):
            if owed.due <= now:
                self._settle(number, None, NoReply(owed.slot, owed.timeout))

    def gone(self, worker: int) -> None:
        """Tell those who wait for a worker that is dead."""
        for number, owed in list(self._owed.items()):
            if owed.worker == worker:
                self._settle(number, None, NoSuchWorker(str(owed.slot)))

    def receive(self, handle: WorkerHandle, mail: m.Mail) -> None:
        """Take what a worker has written to the primary."""
        match mail.kind:
            case MailKind.REPLY.value:
                self._settle(mail.number, mail.body, None)
            case MailKind.FAILURE.value:
                self._settle(mail.number, None, RequestFailed(str(mail.body)))
            case _:
                named = m.Mail(mail.kind, mail.number, mail.to, mail.body, handle.slot)
                self._take(handle, Message(named, partial(self._answer, handle.id)))

    def _settle(self, number: int, reply: Any, why: MailError | None) -> None:
        owed = self._owed.pop(number, None)
        if owed is None:
            return  # too late
        try:
            owed.then(reply, why)
        except Exception:
            logger.exception("what was to be done with a reply raised")
