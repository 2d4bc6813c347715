"""The workers as members of a cluster: who can be written to, who leads, what they say to us.

Nothing of the application runs in the primary of ``hybrid serve``: what a
worker sends to it becomes an announcement, and a request is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from hybrid.core import messages as m
from hybrid.core.announcements import Announcer, Kind
from hybrid.core.lifecycle import State
from hybrid.core.mail import MailKind, Member
from hybrid.core.supervision import Supervisor
from hybrid.primary.children import Children, WorkerHandle
from hybrid.primary.leading import Leading
from hybrid.primary.post import Post

SHOWN = 1024  # bytes; a larger message to the primary is announced without its body

Announce = Callable[..., None]  # (kind, handle, **detail)


class Members:
    """Messages and leadership of `hybrid serve`."""

    def __init__(
        self,
        supervisor: Supervisor,
        children: Children,
        tell: Callable[[int, m.Message], None],
        announce: Announce,
        announcer: Announcer,
    ) -> None:
        self._supervisor = supervisor
        self._children = children
        self._tell = tell
        self._announce = announce
        self._leading = Leading(supervisor, tell)
        self._post = Post(children, self._ready, tell, self._receive)
        announcer.subscribers.append(self._leading.tell)

    def hear(self, handle: WorkerHandle, message: m.Mail | m.LeadGivenUp) -> None:
        """Take a message of the application, or a leader's confirmation."""
        if isinstance(message, m.Mail):
            self._post.carry(handle, message)
        else:
            self._leading.given_up(handle.id)

    def look(self) -> None:
        """See after every event whether the leader is still the right one."""
        for worker in self._leading.update():
            self._announce(Kind.LEADER, self._children.workers.get(worker))

    def gone(self, worker: int) -> None:
        """Note a death."""
        self._leading.gone(worker)

    def _ready(self) -> list[Member]:
        """Return who can get messages, oldest first."""
        leader = self._leading.leader
        return [
            Member(worker.id, worker.slot, worker.id == leader)
            for worker in self._supervisor.workers.values()
            if worker.state is State.READY
        ]

    def _receive(self, handle: WorkerHandle, mail: m.Mail) -> None:
        if mail.kind == MailKind.SEND.value:
            size = len(orjson.dumps(mail.body))
            shown: dict[str, Any] = {"body": mail.body}
            if size > SHOWN:  # the story of announcements keeps a thousand of them
                shown = {"text": f"a message of {size} bytes"}
            self._announce(Kind.MESSAGE, handle, **shown)
        elif mail.kind == MailKind.REQUEST.value:
            why = "nothing of the application runs in the primary: ask a slot, or the leader"
            self._tell(handle.id, m.Mail(MailKind.FAILURE.value, mail.number, "", why))
