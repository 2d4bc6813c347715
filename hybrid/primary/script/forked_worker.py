"""A worker, as an object of the script that forked it."""

from __future__ import annotations

import signal
from typing import Any, Protocol

from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.roster import WorkerRecord
from hybrid.primary.script.script_mail import Then
from hybrid.worker.program import Program


class WorkerOwner(Protocol):
    """The calls that a worker's methods pass on to its primary."""

    def send_to(self, worker: ForkedWorker, body: Any) -> None:
        """Send a message to a worker."""

    def ask(self, worker: ForkedWorker, body: Any, then: Then, timeout: float) -> None:
        """Send a request to a worker."""

    def kill(self, worker: ForkedWorker, number: signal.Signals) -> None:
        """Send a worker a signal."""

    def drain(self, worker: ForkedWorker) -> None:
        """Ask a worker to leave."""


class ForkedWorker:
    """One worker: its state, and messages and signals to it.

    The fields keep their values after its death: an `exit` callback can read them.
    """

    def __init__(self, id_: int, slot: int, program: Program, owner: WorkerOwner) -> None:
        self.id = id_  # counts up from 1, never used twice
        self.slot = slot  # the smallest free one; the header X-Worker and messages contain it
        self.program = program
        self.pid: int | None = None  # None while the fork waits: its predecessor died young
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
        """Why its start failed, in its own words; empty: it did not fail."""
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
            MailboxFull: it is not reading and its outbox is full; nothing was sent.
            NoSuchWorker: it has exited, or is not forked yet.
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
        """Send it a signal; harmless when it has exited. SIGTERM means `disconnect`."""
        self._owner.kill(self, number)
