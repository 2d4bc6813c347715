"""The primary's loop: wait, turn what came into an event, perform the answer.

     signals ---+                                     +--> fork, kill
     links -----+--> event --> Supervisor.handle() ---+--> a frame to a worker
     time ------+              (pure, core/)          +--> a log line, the exit

Waiting, and the processes and links themselves, are `hybrid.primary.crew`'s.

Rule: no decision is taken here; a new behaviour is a new event or action.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybrid.config import Config, LogConfig
from hybrid.core import events as e
from hybrid.core import messages as m
from hybrid.core.announcements import Kind
from hybrid.core.hanging import HangWatch
from hybrid.core.lifecycle import State
from hybrid.core.restart import RestartPolicy
from hybrid.core.supervision import Supervisor
from hybrid.errors import LinkError
from hybrid.primary.attendants import Attendants
from hybrid.primary.children import WorkerHandle
from hybrid.primary.configuration import Configuration
from hybrid.primary.control import Desk
from hybrid.primary.crew import Crew
from hybrid.primary.herald import Herald
from hybrid.primary.members import Members
from hybrid.primary.notify import Notifier
from hybrid.primary.opening import Opened, most_workers
from hybrid.primary.renewal import Renewal
from hybrid.primary.status import cluster_status
from hybrid.primary.terminal import Terminal
from hybrid.system.processes import describe_exit

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


@dataclass(slots=True)
class ServingPrimary:
    """Everything the primary holds; `run` is its life."""

    opened: Opened
    on_ready: Callable[[int], None]  # called with the generation when all are ready
    configuration: Configuration
    notifier: Notifier
    set_logging: Callable[[LogConfig], None]
    exit_code: int | None = None
    crew: Crew = field(init=False)
    supervisor: Supervisor = field(init=False)
    herald: Herald = field(init=False)
    members: Members = field(init=False)
    attendants: Attendants | None = None
    hangs: HangWatch = field(init=False)
    renewal: Renewal = field(init=False)
    terminal: Terminal = field(default_factory=Terminal.at_start)

    def run(self) -> int:
        """Fork the workers, watch over them, return the exit code."""
        config = self.configuration.current
        restart = config.restart
        self.crew = Crew(config, self.opened, _SIGNALS, self._on_message)
        self.supervisor = Supervisor(
            config.io_workers,
            grace=restart.graceful_timeout,
            policy=RestartPolicy(restart.intensity, restart.period),
            max_surge=restart.max_surge,
            boot_timeout=restart.boot_timeout,
            most=most_workers(config),
            jitter=random.Random().random,
            now=time.monotonic(),
        )
        self.hangs = HangWatch(restart.hang_timeout)
        self.renewal = Renewal(
            self.configuration,
            self.supervisor,
            self.crew.children,
            self.hangs,
            self.opened.facts,
            self.set_logging,
            self._feed,
        )
        self.herald = Herald(self.supervisor, self.opened.scoreboard)
        self.members = Members(
            self.supervisor,
            self.crew.children,
            self.crew.tell,
            self.herald.announce,
            self.herald.announcer,
        )
        with self.crew.signals:
            self.crew.watch_signals(self._on_signals)
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
            self.crew.children,
            self.opened.scoreboard,
            self.crew.selector,
            self.notifier,
            self.hangs,
        )
        self.crew.other_sockets = attendants.sockets
        self.herald.announcer.subscribers.append(attendants.publish)
        return attendants

    def _loop(self) -> int:
        self._feed(e.Tick())
        while self.exit_code is None:
            self.crew.wait(self._timers())
            self._feed(e.Tick())
            if self.terminal.was_closed(time.monotonic()):
                self._on_closed_terminal()
            self.crew.go_on()
        return self.exit_code

    def _timers(self) -> list[float | None]:
        """Return when something is due that no descriptor announces."""
        attendants = self.attendants.next_timer() if self.attendants else None
        return [self.supervisor.next_timer(), attendants, self.terminal.next_look()]

    # -- what came ---------------------------------------------------------------

    def _on_signals(self) -> None:
        reap = False
        for number in self.crew.signals.take():
            match number:
                case signal.SIGCHLD:
                    reap = True
                case signal.SIGTERM | signal.SIGINT:
                    logger.info("received %s", number.name)
                    self._feed(e.StopAsked(quick=False))
                case signal.SIGQUIT:
                    self._feed(e.StopAsked(quick=True))
                case signal.SIGHUP if self.terminal.is_gone():
                    self._on_closed_terminal()
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

    def _on_closed_terminal(self) -> None:
        logger.info("the terminal was closed")
        self._feed(e.StopAsked(quick=False))

    def status(self) -> dict[str, Any]:
        """Return the cluster as `hybrid status` shows it."""
        return cluster_status(
            self.supervisor,
            self.crew.children,
            self.opened.scoreboard,
            self.opened.permits,
            self.opened.facts,
        )

    def _reap(self) -> None:
        for handle, status in self.crew.reap():
            self.members.gone(handle.id)
            self.herald.exited(handle, status, self.hangs.killed)
            how = f"pid {handle.pid}, {describe_exit(status)}"
            code = os.waitstatus_to_exitcode(status)
            self._feed(e.WorkerExited(handle.id, how, code if code >= 0 else None))

    def _on_message(self, handle: WorkerHandle, message: m.Message) -> None:
        match message:
            case m.Online():
                self.herald.announce(Kind.ONLINE, handle)
            case m.Ready() if self.supervisor.workers[handle.id].ready_at is not None:
                raise LinkError("a worker is ready once")
            case m.Ready():
                self.herald.announce(Kind.LISTENING, handle, text=str(self.opened.facts["address"]))
                self.herald.announce(Kind.READY, handle)
                self._feed(e.WorkerReady(handle.id))
                self._join(handle)
            case m.BootFailed(kind, text):
                self._feed(e.WorkerFailedToBoot(handle.id, kind, text))
            case m.Leave(leaving, text):
                self._feed(e.WorkerWantsToLeave(handle.id, leaving, text))
            case m.LeftDistribution():
                self._feed(e.WorkerLeftDistribution(handle.id))
            case m.Mail() | m.LeadGivenUp():
                self.members.hear(handle, message)
            case m.QueueEmptied():
                self._feed(e.BacklogEmptied(handle.id))
            case m.Hatch(request):
                self.crew.hatch(handle, request)
            case _:
                raise LinkError(f"a worker may not say {type(message).__name__}")

    def _feed(self, event: e.Event) -> None:
        actions = self.supervisor.handle(event, time.monotonic())
        for action in actions:
            self._perform(action)
        self.members.look()
        if self.attendants is not None:
            self.attendants.look()

    # -- what to do --------------------------------------------------------------

    def _perform(self, action: e.Action) -> None:  # noqa: C901 - one line an action
        match action:
            case e.StartWorker(worker, slot, generation):
                self._start(worker, slot, generation)
            case e.DrainWorker(worker, grace, final, reason):
                self._drain(worker, m.Drain(grace, final, reason))
            case e.KillWorker(worker):
                self.crew.children.kill_worker(worker)
            case e.CloseListeners(worker):
                self.crew.close_listeners(worker)
            case e.ReloadBegun(generation):
                self.herald.announce(Kind.RELOAD, text=f"generation {generation}")
            case e.Scaled(before, target):
                self.herald.announce(Kind.SCALE, text=f"from {before} to {target} workers")
            case e.StopBegun():
                self.herald.announce(Kind.STOP)
                self.crew.stop_accepting()
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
            handle = self.crew.start(worker, slot, generation)
        except OSError as ex:
            self._feed(e.WorkerNotForked(worker, str(ex)))
            return
        self.herald.announce(Kind.FORK, handle)

    def _drain(self, worker: int, order: m.Drain) -> None:
        handle = self.crew.workers.get(worker)
        if handle is None:
            return
        self.herald.announce(Kind.DRAIN, handle, reason=order.reason)
        if handle.slot not in self.supervisor.wanted:
            self.opened.listening.retire(handle.slot)
        self.crew.drain(worker, order)

    def _join(self, handle: WorkerHandle) -> None:
        """Let a worker that is ready, and stays, take connections."""
        if self.supervisor.workers[handle.id].state is State.READY:
            self.crew.join(handle)

    # -- the end -----------------------------------------------------------------

    def _leave(self) -> None:
        """End whatever is left; nobody outlives the primary."""
        self.crew.kill_all()
        if self.attendants is not None:
            self.attendants.close()
        self.crew.close()
