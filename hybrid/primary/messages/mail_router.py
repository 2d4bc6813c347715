"""The primary's half of messages: it carries them, and keeps nothing back.

What a worker does not read fast enough waits in that worker's outbox, up to a
limit; then the sender is told. The primary never waits for a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hybrid.core.messages import link_messages as m
from hybrid.core.messages.mail import (
    ALL,
    OUTBOX_LIMIT,
    PRIMARY,
    Addressee,
    MailKind,
    pack_body,
    recipients,
)
from hybrid.primary.workers.process_table import ProcessTable, WorkerHandle

_ANSWERS = frozenset({MailKind.REPLY.value, MailKind.FAILURE.value})


class MailRouter:
    """Carries messages between workers, and those for the primary to `receive`."""

    def __init__(
        self,
        processes: ProcessTable,
        members: Callable[[], Sequence[Addressee]],
        tell: Callable[[int, m.Message], None],
        receive: Callable[[WorkerHandle, m.Mail], None],
    ) -> None:
        """Carry between `members`; `tell` writes to a link and never waits."""
        self._processes = processes
        self._members = members
        self._tell = tell
        self._receive = receive

    def carry(self, sender: WorkerHandle, mail: m.Mail) -> None:
        """Take a message from a worker and see to it."""
        if mail.kind in _ANSWERS:
            self._return(sender, mail)
        elif mail.to == PRIMARY:
            self._keep(sender, mail)
        else:
            self._forward(sender, mail)

    def _keep(self, sender: WorkerHandle, mail: m.Mail) -> None:
        match mail.kind:
            case MailKind.PING.value:
                self._tell(sender.id, m.Mail(MailKind.REPLY.value, mail.number, "", None))
            case MailKind.SEND.value:
                self._tell(sender.id, m.Receipt(mail.number, reached=[0], final=True))
                self._receive(sender, mail)
            case _:
                self._receive(sender, mail)

    def _forward(self, sender: WorkerHandle, mail: m.Mail) -> None:
        found = recipients(mail.to, sender.id, self._members())
        copy = m.Mail(
            mail.kind, mail.number, mail.to, pack_body(mail.body), sender.slot, origin=sender.id
        )
        reached, full, waiting = [], [], 0
        for member in found:
            outbox = self._waiting(member.worker)
            if outbox > OUTBOX_LIMIT:
                full.append(member.slot)
                waiting = max(waiting, outbox)
            else:
                self._tell(member.worker, copy)
                reached.append(member.slot)
        missing = "" if found or mail.to == ALL else repr(mail.to)[:100]
        final = mail.kind == MailKind.SEND.value
        if final or full or missing:
            self._tell(sender.id, m.Receipt(mail.number, reached, full, missing, waiting, final))

    def _return(self, sender: WorkerHandle, mail: m.Mail) -> None:
        """Carry an answer back to the process that asked; it may be gone, and that is fine."""
        if mail.origin == 0:
            self._receive(sender, mail)
        elif mail.origin in self._processes.workers:
            answer = m.Mail(mail.kind, mail.number, "", pack_body(mail.body), sender.slot)
            self.answer(mail.origin, answer)

    def answer(self, worker: int, mail: m.Mail) -> None:
        """Send a worker the answer to its request; who reads none gets short ones."""
        outbox = self._waiting(worker)
        if outbox > OUTBOX_LIMIT:
            why = f"the reply was dropped: {outbox} bytes wait for its requester to read"
            mail = m.Mail(MailKind.FAILURE.value, mail.number, "", why)
        self._tell(worker, mail)

    def _waiting(self, worker: int) -> int:
        handle = self._processes.workers.get(worker)
        return handle.channel.outbox_bytes if handle is not None else 0
