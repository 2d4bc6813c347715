"""A script that is its own primary, in the shape of Node's cluster module.

    primary = Primary("127.0.0.1:8000")

    @primary.on("exit")
    def again(worker, code, signal):
        if not worker.exited_after_disconnect:
            primary.fork(work)

    primary.fork(work)          # work() runs in the worker; see `hybrid.cluster.serve`
    sys.exit(primary.run())

It runs on the loop and the supervisor of ``hybrid serve``, with a function for
every slot. `fork` adds a wanted slot, `disconnect` removes it, and a slot whose
worker exits stays empty until the script forks again: see `hybrid.core.workers.roster.FUNCTION`.

Rule 1: callbacks run in `run`, in the script's only thread, one after the
        other; one that raises is logged, the others go on.
Rule 2: a callback that takes long delays every worker that writes to the
        primary. Requests of HTTP clients never come through here.
Rule 3: every child of the script is reaped here. A callback that starts a
        process with subprocess waits for it before it returns, or never does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hybrid.config import Config
from hybrid.core.messages import link_messages as m
from hybrid.core.workers import events as e
from hybrid.core.workers.cluster_events import ClusterEvent, EventKind
from hybrid.core.workers.lifecycle import Leaving
from hybrid.core.workers.roster import FUNCTION
from hybrid.errors import ConfigError, MailboxFull, NoSuchWorker, NotInCluster
from hybrid.primary.loop import PrimaryLoop
from hybrid.primary.script.callbacks import Callback, Callbacks
from hybrid.primary.script.forked_worker import ForkedWorker
from hybrid.primary.script.script_mail import ScriptMail, Then
from hybrid.primary.startup.opening import SCRIPT_ROWS, open_cluster, script_config
from hybrid.primary.workers.process_table import WorkerHandle
from hybrid.system.process.processes import kill, thread_count
from hybrid.worker.context import WorkerContext
from hybrid.worker.messages.mailbox import Message
from hybrid.worker.program import Program

logger = logging.getLogger("hybrid.error")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Primary:
    """The primary: forks workers, calls back what happens to them, exchanges messages."""

    def __init__(self, bind: str | Sequence[str] = (), *, config: Config | None = None) -> None:
        """Open the listening sockets; they stay open until `run` returns.

        Standard streams that are closed are opened on /dev/null, and the limit of
        descriptors is raised to the hard one.

        Args:
            bind: HOST:PORT or unix:PATH, or several; none: workers only take messages.
            config: everything else that ``hybrid serve`` has flags for; its
                addresses, application and number of workers mean nothing here.

        Raises:
            ConfigError: an address cannot be bound.
        """
        config = script_config(config, bind)
        opened = open_cluster(config, SCRIPT_ROWS)
        self.workers: dict[int, ForkedWorker] = {}  # by id; those that have not exited
        self.address = opened.address  # a URL to paste; of several, separated by commas
        self._slots: dict[int, ForkedWorker] = {}  # the same workers
        self._loop = PrimaryLoop(
            self, config, opened, _SIGNALS, work=FUNCTION, workers=0, most=SCRIPT_ROWS
        )
        self._callbacks = Callbacks()
        self._mail = ScriptMail(
            self._loop.processes.workers,
            self._loop.send,
            self._loop.members.router.answer,
            self._on_message,
        )
        self._loop.event_log.publisher.subscribers.append(self._on_event)
        self._next_id = 1
        self._pid = os.getpid()
        self._threads = thread_count()  # of those that libraries had started, preload has warned

    @property
    def stopping(self) -> bool:
        """Whether all workers have been asked to leave."""
        return self._loop.supervisor.stopping

    # -- what a script does ----------------------------------------------------------

    def on(self, name: str) -> Callable[[Callback], Callback]:
        """Register a callback for an event.

        ``fork, online, ready, drain`` call it with (worker), ``listening`` with
        (worker, address), ``message`` with (worker, message), ``exit`` with
        (worker, code, signal): exactly one of the two is not None.

        Raises:
            ConfigError: there is no such event.
        """
        return self._callbacks.on(name)

    def fork(
        self, program: Callable[..., Any], *args: Any, env: Mapping[str, str] | None = None
    ) -> ForkedWorker:
        """Fork a worker that calls ``program(*args)`` and exits when that returns.

        The fork happens at once, unless the last worker of its slot died young: then
        after a while, longer each time (`pid` is None until then). While the cluster
        stops nothing is forked; the worker returned is dead already.

        Args:
            program: plain or async; its int is the exit code, else 0.
            args: its arguments; they are not pickled.
            env: environment variables of this worker, on top of ours.

        Raises:
            NotInCluster: this process is a worker.
            ConfigError: an asyncio loop is running here.
            OSError: there is no room for another process.
        """
        self._check_that_we_may_fork()
        slot = next(n for n in range(1, len(self._slots) + 2) if n not in self._slots)
        worker = ForkedWorker(self._next_id, slot, Program(program, args, env or {}), self)
        self._next_id += 1
        if self.stopping:
            worker.give_up()
            return worker
        self.workers[worker.id] = self._slots[slot] = worker
        known = self._loop.supervisor.restarts.slots.get(slot)
        waits = known is not None and time.monotonic() < known.start_at
        self._loop.handle(e.SlotWanted(slot))
        if worker.pid is None and not waits:
            self._drop(worker)
            raise OSError(self._loop.supervisor.restarts.slots[slot].failure)
        return worker

    def broadcast(self, body: Any) -> list[int]:
        """Send a message to every worker; return the slots it is on its way to.

        Raises:
            FrameTooLarge: over 64 KiB of JSON; it was not sent.
            MailboxFull: some read too slowly: its `slots` did not get the message, all others did.
        """
        reached, full, waiting = [], [], 0
        for worker in list(self.workers.values()):
            try:
                worker.send(body)
                reached.append(worker.slot)
            except MailboxFull as ex:
                full.append(worker.slot)
                waiting = max(waiting, ex.waiting)
            except NoSuchWorker:
                continue  # it waits to be forked
        if full:
            raise MailboxFull(full, waiting)
        return reached

    def disconnect(self) -> None:
        """Ask all workers to leave; `run` returns when they have. Harmless when repeated."""
        if not self.stopping:
            self._loop.handle(e.StopAsked(quick=False))

    def run(self) -> int:
        """Run the callbacks until no worker is left; return the exit code.

        TERM, INT and HUP mean `disconnect`; a second one, and QUIT, end it at once.
        The code is 0, or 1 (3: no worker ever lived) when workers kept dying young.
        """
        return self._loop.run()

    def _check_that_we_may_fork(self) -> None:
        if os.getpid() != self._pid:
            raise NotInCluster("only the primary forks, and this process is a worker")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise ConfigError(
                "a primary cannot fork inside an asyncio loop: its workers would inherit it"
            )
        if thread_count() > self._threads:
            self._threads = thread_count()
            logger.warning(
                "forking while other threads run: a lock that one of them holds "
                "is never released in the worker"
            )

    # -- what happens ----------------------------------------------------------------

    def _on_event(self, event: ClusterEvent) -> None:
        if event.kind is EventKind.STOP:
            for waiting in [worker for worker in self.workers.values() if worker.pid is None]:
                self._forget(waiting)
        worker = self._slots.get(event.slot)
        if worker is None:
            return  # it concerns the whole cluster
        args: tuple[Any, ...] = ()
        match event.kind:
            case EventKind.FORK:
                (worker.record,) = self._loop.supervisor.roster.in_slot(event.slot)
                worker.pid = event.pid
            case EventKind.ONLINE:
                worker.is_online = True
            case EventKind.LISTENING:
                args = (self.address,)
            case EventKind.EXIT:
                worker.code, worker.reason = event.code, event.reason
                worker.signal = signal.Signals(event.signal) if event.signal is not None else None
                args = (worker.code, worker.signal)
                self._forget(worker)
                assert worker.record is not None
                self._mail.note_exit(worker.record.id)
        self._callbacks.emit(event.kind, worker, *args)

    def _on_message(self, handle: WorkerHandle, message: Message) -> None:
        worker = self._slots[handle.slot]
        if not self._callbacks.has(EventKind.MESSAGE):
            message.fail("the primary has no callback for messages")
            logger.warning("no callback for messages: one of %r was dropped", worker)
        self._callbacks.emit(EventKind.MESSAGE, worker, message)

    def _drop(self, worker: ForkedWorker) -> None:
        """Forget a worker that has not been forked."""
        self._forget(worker)
        self._loop.handle(e.SlotNotWanted(worker.slot))

    def _forget(self, worker: ForkedWorker) -> None:
        del self.workers[worker.id], self._slots[worker.slot]

    # -- one worker; see `hybrid.primary.script.forked_worker` ------------------------

    def send_to(self, worker: ForkedWorker, body: Any) -> None:
        """Send a message to a worker."""
        self._mail.send(_id_of(worker), worker.slot, body)

    def ask(self, worker: ForkedWorker, body: Any, then: Then, timeout: float) -> None:
        """Send a request to a worker."""
        self._mail.request(_id_of(worker), worker.slot, body, then, timeout)

    def kill(self, worker: ForkedWorker, number: signal.Signals) -> None:
        """Send a worker a signal."""
        handle = self._loop.processes.workers.get(_id_of(worker))
        if handle is not None and number == signal.SIGKILL:
            self._loop.processes.kill_worker(handle.id)  # and its pool processes
        elif handle is not None:
            kill(handle.pid, handle.pidfd, number)

    def drain(self, worker: ForkedWorker) -> None:
        """Ask a worker to leave."""
        if worker.id not in self.workers:
            return
        if worker.record is None:
            self._drop(worker)
        else:
            self._loop.handle(e.WorkerWantsToLeave(worker.record.id, Leaving.DISCONNECT))

    # -- for the loop; see `hybrid.primary.cluster_owner` ---------------------------------

    def begin(self) -> None:
        """Start nothing: a script has no services."""

    def run_of(self, slot: int) -> Callable[[WorkerContext], int]:
        """Return the main function of the worker that the script forked into the slot."""
        return self._slots[slot].program.main

    def on_signal(self, number: signal.Signals) -> None:
        """Stop."""
        self._loop.handle(e.StopAsked(quick=number == signal.SIGQUIT))

    def on_mail(self, handle: WorkerHandle, mail: m.Mail) -> None:
        """Pass it to the callbacks, or to the request that it replies to."""
        self._mail.receive(handle, mail)

    def on_all_ready(self, generation: int) -> None:
        """Do nothing: a script counts its workers itself."""

    def on_aborted(self, generation: int) -> None:
        """Do nothing: a script reloads nothing."""

    def after_event(self) -> None:
        """Do nothing: callbacks wait for the end of the turn."""

    def after_wait(self) -> None:
        """Run the callbacks, including those for what they bring about."""
        self._mail.fail_overdue(time.monotonic())
        while self._callbacks.deliver():
            self._mail.fail_overdue(time.monotonic())

    def is_over(self) -> bool:
        """Return whether no worker is left."""
        return not self.workers

    def next_timer(self) -> float | None:
        """Return when the next request times out."""
        return self._mail.next_timer()

    def sockets(self) -> list[socket.socket]:
        """Return none: all sockets are the loop's."""
        return []

    def close(self) -> None:
        """Do nothing: all descriptors are the loop's."""


def _id_of(worker: ForkedWorker) -> int:
    """Return the supervisor's id of a worker; 0, which no worker has, before the fork."""
    return 0 if worker.record is None else worker.record.id
