"""The primary's loop: wait, turn what came into an event, perform the answer.

     signals ---+                                     +--> fork, kill
     links -----+--> event --> Supervisor.handle() ---+--> a frame to a worker
     time ------+              (pure, core/)          +--> a log line, the exit

Rule 1: `_loop` is the only place that waits.
Rule 2: no decision is taken here; a new behaviour is a new event or action.
Rule 3: every descriptor is unregistered before it is closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybrid.config import Config, LogConfig
from hybrid.core import events as e
from hybrid.core import messages as m
from hybrid.core.announcements import Kind
from hybrid.core.handover import Rota
from hybrid.core.hanging import HangWatch
from hybrid.core.lifecycle import State
from hybrid.core.restart import RestartPolicy
from hybrid.core.scheduling import Policy
from hybrid.core.supervision import Supervisor
from hybrid.errors import LinkError
from hybrid.primary.attendants import Attendants
from hybrid.primary.children import Children, WorkerHandle
from hybrid.primary.configuration import Configuration
from hybrid.primary.control import Desk
from hybrid.primary.distributor import Distributor, least_loaded
from hybrid.primary.herald import Herald
from hybrid.primary.listening import Listening
from hybrid.primary.members import Members
from hybrid.primary.notify import Notifier
from hybrid.primary.renewal import Renewal
from hybrid.primary.status import cluster_status
from hybrid.primary.terminal import Terminal
from hybrid.system.permits import PermitTable
from hybrid.system.processes import describe_exit
from hybrid.system.scoreboard import Scoreboard
from hybrid.system.signals import SignalQueue

logger = logging.getLogger("hybrid.error")

_SIGNALS = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LONGEST_WAIT = 3600.0  # s of one poll; a timer further away is looked at again
_LAST_WAIT = 5.0  # s for killed children to be reaped before the primary leaves


@dataclass(slots=True)
class Primary:
    """Everything the primary holds; `run` is its life."""

    listening: Listening
    scoreboard: Scoreboard
    permits: PermitTable | None
    facts: dict[str, object]
    on_ready: Callable[[int], None]  # called with the generation when all are ready
    configuration: Configuration
    notifier: Notifier
    set_logging: Callable[[LogConfig], None]
    exit_code: int | None = None
    signals: SignalQueue = field(init=False)
    children: Children = field(init=False)
    supervisor: Supervisor = field(init=False)
    herald: Herald = field(init=False)
    members: Members = field(init=False)
    distributor: Distributor | None = None  # where the primary accepts
    attendants: Attendants | None = None
    hangs: HangWatch = field(init=False)
    renewal: Renewal = field(init=False)
    terminal: Terminal = field(default_factory=Terminal.at_start)
    selector: selectors.PollSelector = field(default_factory=selectors.PollSelector)

    def run(self) -> int:
        """Fork the workers, watch over them, return the exit code."""
        config = self.configuration.current
        restart = config.restart
        self.children = Children(
            config, self.listening, self.scoreboard, self.permits, self._sockets, self.facts
        )
        if self.listening.handed_over:
            is_turn = self.listening.policy is Policy.ROUND_ROBIN
            rota = Rota() if is_turn else least_loaded(self.children, self.scoreboard)
            self.distributor = Distributor(self.listening.all(), self.selector, rota)
        self.supervisor = Supervisor(
            config.io_workers,
            grace=restart.graceful_timeout,
            policy=RestartPolicy(restart.intensity, restart.period),
            max_surge=restart.max_surge,
            boot_timeout=restart.boot_timeout,
            most=len(self.scoreboard) // 2,
            jitter=random.Random().random,
            now=time.monotonic(),
        )
        self.hangs = HangWatch(restart.hang_timeout)
        self.renewal = Renewal(
            self.configuration,
            self.supervisor,
            self.children,
            self.hangs,
            self.facts,
            self.set_logging,
            self._feed,
        )
        self.herald = Herald(self.supervisor, self.scoreboard)
        self.members = Members(
            self.supervisor, self.children, self._tell, self.herald.announce, self.herald.announcer
        )
        with SignalQueue(_SIGNALS) as self.signals:
            self.selector.register(self.signals, selectors.EVENT_READ, self._on_signals)
            try:
                self.attendants = self._start_attendants(config)
                return self._loop()
            finally:
                self._leave()

    def _start_attendants(self, config: Config) -> Attendants:
        desk = Desk(self.supervisor, self._feed, self.renewal.reload, self.status)
        attendants = Attendants(
            config,
            desk,
            self.children,
            self.scoreboard,
            self.selector,
            self.notifier,
            self.hangs,
        )
        self.herald.announcer.subscribers.append(attendants.publish)
        return attendants

    def _loop(self) -> int:
        self._feed(e.Tick())
        while self.exit_code is None:
            ready = self.selector.select(self._patience())
            # Signals first: a TERM to the whole group arrives with the workers' answers to it.
            for key, _ in sorted(ready, key=lambda item: item[0].fileobj is not self.signals):
                key.data()
            self._feed(e.Tick())
            if self.distributor is not None:
                self.distributor.go_on()
        return self.exit_code

    def _patience(self) -> float | None:
        """Return the seconds until something is due that no descriptor announces."""
        timers = [self.supervisor.next_timer()]
        if self.distributor is not None:
            timers.append(self.distributor.next_timer())
        if self.attendants is not None:
            timers.append(self.attendants.next_timer())
        due = [timer for timer in timers if timer is not None]
        # poll(2) counts milliseconds in an int: about 24 days are too much for it.
        return min(_LONGEST_WAIT, max(0.0, min(due) - time.monotonic())) if due else None

    # -- what came ---------------------------------------------------------------

    def _on_signals(self) -> None:
        reap = False
        for number in self.signals.take():
            match number:
                case signal.SIGCHLD:
                    reap = True
                case signal.SIGTERM | signal.SIGINT:
                    logger.info("received %s", number.name)
                    self._feed(e.StopAsked(quick=False))
                case signal.SIGQUIT:
                    self._feed(e.StopAsked(quick=True))
                case signal.SIGHUP if self.terminal.is_gone():
                    logger.info("the terminal was closed")
                    self._feed(e.StopAsked(quick=False))
                case signal.SIGHUP:
                    self.renewal.reload_or_say_why()
                case signal.SIGTTIN:
                    self._feed(e.ScaleAsked(+1))
                case signal.SIGTTOU:
                    self._feed(e.ScaleAsked(-1))
                case _:
                    logger.debug("%s means nothing here", number.name)
        if reap:
            self._reap()

    def status(self) -> dict[str, Any]:
        """Return the cluster as `hybrid status` shows it."""
        return cluster_status(
            self.supervisor, self.children, self.scoreboard, self.permits, self.facts
        )

    def _reap(self) -> None:
        for handle, pid, status in self.children.reap():
            if handle is None:
                logger.debug("pool process pid=%d ended: %s", pid, describe_exit(status))
                continue
            self._on_link(handle)  # its last words may still be in the socket
            if handle.channel.fileno() >= 0:
                with contextlib.suppress(KeyError):
                    self.selector.unregister(handle.channel)
            if self.distributor is not None:
                self.distributor.leave(handle.id, dead=True)
            self.children.forget(handle)
            self.members.gone(handle.id)
            self.herald.exited(handle, status, self.hangs.killed)
            self._feed(e.WorkerExited(handle.id, f"pid {pid}, {describe_exit(status)}"))

    def _on_link(self, handle: WorkerHandle) -> None:
        if handle.id not in self.children.workers:
            return  # reaped earlier in this round of the loop
        try:
            if handle.channel.wants_write and handle.channel.flush():
                self._watch(handle)
            for frame in handle.channel.receive():
                self._on_message(handle, m.decode(frame.payload))
        except (EOFError, ConnectionError, BrokenPipeError):
            with contextlib.suppress(KeyError):
                self.selector.unregister(handle.channel)  # its exit will be reaped
        except LinkError as ex:
            # Whatever garbled the link is in that worker, so that worker pays for it.
            logger.error("worker slot=%d sent garbage: %s; it is killed", handle.slot, ex)
            with contextlib.suppress(KeyError):
                self.selector.unregister(handle.channel)
            self.children.kill_worker(handle.id)

    def _on_message(self, handle: WorkerHandle, message: m.Message) -> None:
        match message:
            case m.Online():
                self.herald.announce(Kind.ONLINE, handle)
            case m.Ready():
                self.herald.announce(Kind.LISTENING, handle, text=str(self.facts["address"]))
                self.herald.announce(Kind.READY, handle)
                self._feed(e.WorkerReady(handle.id))
                self._join(handle)
            case m.BootFailed(kind, text):
                self._feed(e.WorkerFailedToBoot(handle.id, kind, text))
            case m.Leave(reason):
                self._feed(e.WorkerWantsToLeave(handle.id, reason))
            case m.LeftDistribution():
                self._feed(e.WorkerLeftDistribution(handle.id))
            case m.Mail() | m.LeadGivenUp():
                self.members.hear(handle, message)
            case m.QueueEmptied():
                self._feed(e.BacklogEmptied(handle.id))
            case m.Hatch(request):
                self._hatch(handle, request)
            case _:
                raise LinkError(f"a worker may not say {type(message).__name__}")

    def _hatch(self, handle: WorkerHandle, request: int) -> None:
        try:
            pid, pidfd, sock = self.children.hatch(handle)
        except OSError as ex:
            self._tell(handle.id, m.HatchRefused(request, str(ex)))
            return
        with sock:
            self._tell(handle.id, m.Hatched(request, pid), (sock.fileno(), pidfd))
        os.close(pidfd)

    def _feed(self, event: e.Event) -> None:
        stopping = self.supervisor.stopping
        actions = self.supervisor.handle(event, time.monotonic())
        self.herald.look()
        if self.supervisor.stopping and not stopping and self.distributor is not None:
            self.distributor.stop_accepting()
        for action in actions:
            self._perform(action)
        self.members.look()
        if self.attendants is not None:
            self.attendants.look()

    # -- what to do --------------------------------------------------------------

    def _perform(self, action: e.Action) -> None:
        match action:
            case e.StartWorker(worker, slot, generation):
                self._start(worker, slot, generation)
            case e.DrainWorker(worker, grace, final, reason):
                self._drain(worker, m.Drain(grace, final, reason))
            case e.KillWorker(worker):
                self.children.kill_worker(worker)
            case e.CloseListeners(worker):
                self._close_listeners(worker)
            case e.AllReady(generation):
                self.configuration.confirm()
                self.herald.announce(Kind.READY, text=f"generation {generation}")
                self.on_ready(generation)
            case e.ReloadAborted(generation):
                self.herald.aborted(generation)
                self.renewal.revert()
            case e.Log(level, text):
                logger.log(_LEVELS[level], "%s", text)
            case e.Exit(code):
                self.exit_code = code

    def _start(self, worker: int, slot: int, generation: int) -> None:
        try:
            handle = self.children.start_worker(worker, slot, generation, time.monotonic())
        except OSError as ex:
            logger.error("cannot fork a worker for slot %d: %s", slot, ex)
            self._feed(e.WorkerExited(worker, f"never forked: {ex}"))
            return
        self.selector.register(handle.channel, selectors.EVENT_READ, lambda: self._on_link(handle))
        logger.debug("worker slot=%d generation=%d pid=%d forked", slot, generation, handle.pid)
        self.herald.announce(Kind.FORK, handle)

    def _drain(self, worker: int, order: m.Drain) -> None:
        handle = self.children.workers.get(worker)
        if handle is None:
            return
        self.herald.announce(Kind.DRAIN, handle, reason=order.reason)
        if handle.slot > self.supervisor.target:
            self.listening.retire(handle.slot)
        if self.distributor is not None:
            if order.final:
                self.distributor.last_resort(worker)
            else:
                self.distributor.leave(worker)
        fds = [sock.fileno() for sock in self.listening.all()] if order.final else []
        self._tell(worker, order, fds)

    def _join(self, handle: WorkerHandle) -> None:
        """Let a worker that is ready, and stays, take connections."""
        if self.distributor is not None:
            record = self.supervisor.workers[handle.id]
            if record.state is State.READY:
                self.distributor.join(handle)

    def _close_listeners(self, worker: int | None) -> None:
        self.listening.close()
        if worker is not None:
            self._tell(worker, m.ListenersClosed())

    def _tell(self, worker: int, message: m.Message, fds: Sequence[int] = ()) -> None:
        handle = self.children.workers.get(worker)
        if handle is None:
            return
        try:
            handle.channel.send(m.encode(message), fds)
        except OSError as ex:
            logger.debug("worker slot=%d is gone: %s", handle.slot, ex)
            return
        self._watch(handle)

    def _watch(self, handle: WorkerHandle) -> None:
        """Wait for writability only while something waits to be written."""
        interest = selectors.EVENT_READ
        if handle.channel.wants_write:
            interest |= selectors.EVENT_WRITE
        with contextlib.suppress(KeyError):
            self.selector.modify(handle.channel, interest, lambda: self._on_link(handle))

    # -- the end -----------------------------------------------------------------

    def _leave(self) -> None:
        """End whatever is left; nobody outlives the primary."""
        self.children.kill_services()
        for worker in list(self.children.workers):
            self.children.kill_worker(worker)
        deadline = time.monotonic() + _LAST_WAIT
        while self.children.any_left and time.monotonic() < deadline:
            for handle, _, _ in self.children.reap():
                if handle is not None:
                    with contextlib.suppress(KeyError, ValueError):
                        self.selector.unregister(handle.channel)
                    if self.distributor is not None:
                        self.distributor.leave(handle.id, dead=True)
                    self.children.forget(handle)
            if self.children.any_left:
                self.selector.select(0.05)
                self.signals.take()
        if self.distributor is not None:
            self.distributor.close()
        if self.attendants is not None:
            self.attendants.close()
        self.selector.close()
        self.listening.close()

    def _sockets(self) -> list[socket.socket]:
        """Return the sockets that a child must forget, links and listeners apart."""
        others = self.distributor.sockets() if self.distributor is not None else []
        if self.attendants is not None:
            others += self.attendants.sockets()
        return [self.signals.reader, self.signals.writer, *others]
