"""The primary's half of messages: it carries them from worker to worker.

Messages that a worker does not read wait in that worker's outbox, up to a
limit; above it the sender gets an error. The primary never waits for a reader:
one worker that stands still would stop the messages of all. Nor does it keep
them without a limit: that worker would make the primary grow until the kernel
kills it, and every worker with it.
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
    """Carries messages between workers; passes those for the primary to `receive`."""

    def __init__(
        self,
        processes: ProcessTable,
        members: Callable[[], Sequence[Addressee]],
        send: Callable[[int, m.Message], None],
        receive: Callable[[WorkerHandle, m.Mail], None],
    ) -> None:
        """Carry between `members`; `tell` writes to a link and never waits."""
        self._processes = processes
        self._members = members
        self._send = send
        self._receive = receive

    def carry(self, sender: WorkerHandle, mail: m.Mail) -> None:
        """Carry a message of a worker to where it belongs."""
        if mail.kind in _ANSWERS:
            self._carry_back(sender, mail)
        elif mail.to == PRIMARY:
            self._deliver_here(sender, mail)
        else:
            self._forward(sender, mail)

    def _deliver_here(self, sender: WorkerHandle, mail: m.Mail) -> None:
        match mail.kind:
            case MailKind.PING.value:
                self._send(sender.id, m.Mail(MailKind.REPLY.value, mail.number, "", None))
            case MailKind.SEND.value:
                self._send(sender.id, m.Receipt(mail.number, reached=[0], final=True))
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
                self._send(member.worker, copy)
                reached.append(member.slot)
        missing = "" if found or mail.to == ALL else repr(mail.to)[:100]
        final = mail.kind == MailKind.SEND.value
        if final or full or missing:
            self._send(sender.id, m.Receipt(mail.number, reached, full, missing, waiting, final))

    def _carry_back(self, sender: WorkerHandle, mail: m.Mail) -> None:
        """Carry an answer back to the process that asked; drop it if that has exited."""
        if mail.origin == 0:
            self._receive(sender, mail)
        elif mail.origin in self._processes.workers:
            answer = m.Mail(mail.kind, mail.number, "", pack_body(mail.body), sender.slot)
            self.answer(mail.origin, answer)

    def answer(self, worker: int, mail: m.Mail) -> None:
        """Send a worker the answer to its request, or a short failure if its outbox is full."""
        outbox = self._waiting(worker)
        if outbox > OUTBOX_LIMIT:
            why = f"the reply was dropped: {outbox} bytes wait for its requester to read"
            mail = m.Mail(MailKind.FAILURE.value, mail.number, "", why)
        self._send(worker, mail)

    def _waiting(self, worker: int) -> int:
        handle = self._processes.workers.get(worker)
        return handle.channel.outbox_bytes if handle is not None else 0
