"""A worker as the script sees it that forked it."""

from __future__ import annotations

import signal
from typing import Any, Protocol

from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.roster import WorkerRecord
from hybrid.primary.script.script_mail import Then
from hybrid.worker.program import Program


class WorkerOwner(Protocol):
    """What a worker's methods ask of its primary."""

    def send_to(self, worker: ForkedWorker, body: Any) -> None:
        """Put a message on its way."""

    def ask(self, worker: ForkedWorker, body: Any, then: Then, timeout: float) -> None:
        """Put a request on its way."""

    def kill(self, worker: ForkedWorker, number: signal.Signals) -> None:
        """Send it a signal."""

    def drain(self, worker: ForkedWorker) -> None:
        """Ask it to leave."""


class ForkedWorker:
    """One worker: who it is, how it is, and what can be done to it.

    It stays what it was after its death, so that an `exit` callback can look.
    """

    def __init__(self, id_: int, slot: int, program: Program, owner: WorkerOwner) -> None:
        self.id = id_  # counts up from 1, never used twice
        self.slot = slot  # the smallest that is free; X-Worker and messages name it
        self.program = program
        self.pid: int | None = None  # None while the fork waits: its elder died young
        self.is_online = False
        self.code: int | None = None  # of its exit; exactly one of code and signal is set
        self.signal: signal.Signals | None = None
        self.reason = ""  # an ExitReason: drained, finished, crashed, killed, oom, recycled
        self.record: WorkerRecord | None = None  # the supervisor's, once it is forked
        self._unforked = WorkerState.STARTING
        self._owner = owner

    def __repr__(self) -> str:
        """Return a name for a log line."""
        return f"<worker {self.id} slot={self.slot} pid={self.pid} {self.state.value}>"

    def give_up(self) -> None:
        """Note that it will never be forked."""
        self._unforked = WorkerState.EXITED

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        return self._unforked if self.record is None else self.record.state

    @property
    def leaving(self) -> Leaving | None:
        """Why it was asked to leave; None: it was not."""
        return None if self.record is None else self.record.leaving

    @property
    def failure(self) -> str:
        """What it said about its failed start."""
        return "" if self.record is None else self.record.failure or ""

    @property
    def is_dead(self) -> bool:
        """Whether it has exited."""
        return self.state is WorkerState.EXITED

    @property
    def is_connected(self) -> bool:
        """Whether it can be written to."""
        return self.is_online and not self.is_dead

    @property
    def exited_after_disconnect(self) -> bool | None:
        """Whether it was asked to leave, or asked to; None while it lives."""
        return self.leaving is not None if self.is_dead else None

    def send(self, body: Any) -> None:
        """Send it a message; never waits. Before it is online the message waits for it.

        Raises:
            FrameTooLarge: over 64 KiB of JSON.
            MailboxFull: too much already waits for it to read; nothing was sent.
            NoSuchWorker: it is gone, or not forked yet.
        """
        self._owner.send_to(self, body)

    def request(self, body: Any, then: Then, timeout: float = 5.0) -> None:
        """Send it a message; call ``then(reply, None)`` or ``then(None, error)``, once.

        The error is NoReply (after `timeout` seconds), RequestFailed or NoSuchWorker.

        Raises:
            FrameTooLarge, MailboxFull, NoSuchWorker: as for `send`; `then` is not called.
        """
        self._owner.ask(self, body, then, timeout)

    def disconnect(self) -> None:
        """Ask it to take nothing new, finish what it has, and exit; harmless when repeated.

        It is killed when that takes longer than ``--graceful-timeout``.
        """
        self._owner.drain(self)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal; harmless when it is gone. SIGTERM means `disconnect` to it."""
        self._owner.kill(self, number)
