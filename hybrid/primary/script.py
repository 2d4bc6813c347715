"""A script that is its own primary, in the shape of Node's cluster module.

    primary = Primary("127.0.0.1:8000")

    @primary.on("exit")
    def again(worker, code, signal):
        if not worker.exited_after_disconnect:
            primary.fork(work)

    primary.fork(work)          # work() runs in the worker; see `hybrid.cluster.serve`
    sys.exit(primary.run())

What the supervisor of ``hybrid serve`` decides, the script decides: who is
forked, and what follows from a death. Processes, links, messages, connections
and the way to stop are the same code.

Rule 1: callbacks run in `run`, in the script's only thread, one after the
        other; one that raises is logged, the others go on.
Rule 2: a callback that takes long keeps everybody waiting who writes to the
        primary. Requests of HTTP clients never come through here.
Rule 3: every child of the script is reaped here. What it starts with
        subprocess it waits for before its callback returns, or never.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hybrid.config import Config
from hybrid.core import messages as m
from hybrid.core.announcements import Announcement, Kind, exit_reason
from hybrid.core.leaving import Leaving
from hybrid.core.lifecycle import Happening, State, advance
from hybrid.core.mail import Member
from hybrid.errors import LinkError, MailboxFull, NoSuchWorker
from hybrid.primary.callbacks import Callback, Callbacks
from hybrid.primary.children import WorkerHandle
from hybrid.primary.correspondence import Correspondence, Then
from hybrid.primary.crew import Crew
from hybrid.primary.forked import ForkedWorker
from hybrid.primary.forking import Forking
from hybrid.primary.leading import Leading
from hybrid.primary.opening import SCRIPT_ROWS, open_cluster, script_config
from hybrid.primary.parting import Parting
from hybrid.system.out_of_memory import OutOfMemoryKills
from hybrid.system.processes import kill
from hybrid.worker.mailbox import Message
from hybrid.worker.program import Program

logger = logging.getLogger("hybrid.error")

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Primary:
    """The primary: forks workers, hears what happens to them, talks to them."""

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
        self.workers: dict[int, ForkedWorker] = {}  # by id; who has not exited
        self._config = config = script_config(config, bind)
        opened = open_cluster(config, SCRIPT_ROWS)
        self.address = opened.address  # a URL to paste; of several, separated by commas
        self._crew = Crew(config, opened, _SIGNALS, self._hear)
        restart = config.restart
        self._leading = Leading(self, self._crew.tell)
        self._callbacks = Callbacks(self._leading.tell)
        self._correspondence = Correspondence(self._crew, self._members, self._take)
        self._parting = Parting(self._crew, self.workers, restart.graceful_timeout)
        self._forking = Forking(
            self._crew, self.workers, restart, lambda worker: self._emit(Kind.FORK, worker)
        )
        self._oom_kills = OutOfMemoryKills()
        self._next_id = 1
        self._code = 0

    @property
    def stopping(self) -> bool:
        """Whether everybody has been asked to leave."""
        return self._parting.has_begun

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

        At once, unless the last worker of its slot died young: then after a
        while, longer each time (`pid` is None until then). While the cluster stops
        nothing is forked; the worker returned is dead already.

        Args:
            program: plain or async; its int is the exit code, else 0.
            args: what it is called with; nothing is pickled.
            env: environment variables of this worker, on top of ours.

        Raises:
            NotInCluster: this process is a worker.
            ConfigError: an asyncio loop is running here.
            OSError: no room for another process.
        """
        self._forking.check()
        call = Program(program, args, env or {})
        worker = ForkedWorker(self._next_id, self._forking.free_slot(), call, self)
        self._next_id += 1
        if self.stopping:
            worker.state = advance(worker.state, Happening.EXIT)
        else:
            self._forking.start(worker, time.monotonic())
            self.workers[worker.id] = worker
        return worker

    def broadcast(self, body: Any) -> list[int]:
        """Send a message to every worker; return the slots it is on its way to.

        Raises:
            FrameTooLarge: over 64 KiB of JSON; nobody gets it.
            MailboxFull: some read too slowly; its `slots` did not get it, all others did.
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
                continue  # its fork waits
        if full:
            raise MailboxFull(full, waiting)
        return reached

    def disconnect(self) -> None:
        """Ask everybody to leave; `run` returns when they have. Harmless when repeated."""
        self._forking.drop_waiting()
        for worker in self._parting.begin(time.monotonic()):
            self._emit(Kind.DRAIN, worker, reason=Leaving.STOP.value)

    def run(self) -> int:
        """Call back what happens, until no worker is left; return the exit code.

        TERM, INT and HUP mean `disconnect`, a second one and QUIT the end at
        once. The code is 0, or 1 (3: none ever lived) when workers kept dying young.
        """
        with self._crew.signals:
            self._crew.watch_signals(self._on_signals)
            try:
                self._reap()  # who died before we looked
                self._look()
                while self.workers:
                    self._crew.wait(self._timers())
                    self._look()
                return self._code
            finally:
                self._crew.kill_all()
                self._crew.close()

    # -- the loop --------------------------------------------------------------------

    def _look(self) -> None:
        """Do what is due, then call back; callbacks may bring about more."""
        goes_on = True
        while goes_on:
            now = time.monotonic()
            self._correspondence.look(now)
            self._parting.look(now)
            self._forking.start_waiting(now)
            self._judge(now)
            for appointed in self._leading.update():
                self._leading.tell(_told(Kind.LEADER, self.workers[appointed]))
            self._crew.go_on()
            goes_on = self._callbacks.deliver()

    def _timers(self) -> list[float | None]:
        times = [self._parting.next_timer(), self._correspondence.next_timer()]
        return times + self._forking.timers()

    def _judge(self, now: float) -> None:
        code = self._forking.gives_up(now)
        if code is not None and not self.stopping:
            logger.error("workers keep dying young and none lives: giving up")
            self._code = code
            self.disconnect()
            self._parting.at_once()

    def _on_signals(self) -> None:
        for number in self._crew.signals.take():
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGQUIT or self._parting.is_second_wish(time.monotonic()):
                self.disconnect()
                self._parting.at_once()
            else:
                self.disconnect()

    def _reap(self) -> None:
        for handle, status in self._crew.reap():
            worker = self.workers.pop(handle.id)
            result, now = os.waitstatus_to_exitcode(status), time.monotonic()
            if result >= 0:
                worker.code = result
            else:
                worker.signal = signal.Signals(-result)
            worker.reason = self._reason(worker)
            if worker.leaving is None:
                self._forking.died(worker, now)
            worker.state = advance(worker.state, Happening.EXIT)
            self._leading.gone(worker.id)
            self._correspondence.gone(worker.id)
            self._parting.gone(worker.id)
            detail = {"code": worker.code, "signal": worker.signal, "reason": worker.reason}
            self._emit(Kind.EXIT, worker, worker.code, worker.signal, **detail)

    def _reason(self, worker: ForkedWorker) -> str:
        killed = worker.signal == signal.SIGKILL and self._oom_kills.happened()
        return exit_reason(worker.leaving, worker.code, may_return=True, out_of_memory=killed).value

    # -- what workers say ------------------------------------------------------------

    def _hear(self, handle: WorkerHandle, message: m.Message) -> None:
        worker = self.workers[handle.id]
        match message:
            case m.Online():
                worker.is_online = True
                self._emit(Kind.ONLINE, worker)
            case m.Ready(listening):
                self._ready(handle, worker, listening)
            case m.BootFailed(_, text):
                worker.failure = text
                logger.error("%s", text)
            case m.Leave(leaving, text):
                self._leave(worker, leaving, text)
            case m.LeftDistribution():
                worker.is_listening = False
            case m.QueueEmptied():
                self._parting.emptied(handle.id)
            case m.Mail():
                self._correspondence.carry(handle, message)
            case m.LeadGivenUp():
                self._leading.given_up(handle.id)
            case m.Hatch(request):
                self._crew.hatch(handle, request)
            case _:
                raise LinkError(f"a worker may not say {type(message).__name__}")

    def _ready(self, handle: WorkerHandle, worker: ForkedWorker, listening: bool) -> None:
        is_first = worker.ready_at is None
        worker.ready_at = worker.ready_at or time.monotonic()
        worker.state = (
            State.READY if worker.state is State.READY else advance(worker.state, Happening.READY)
        )
        if listening:
            worker.is_listening = worker.has_listened = True
            if worker.state is State.READY:
                self._crew.join(handle)
            self._emit(Kind.LISTENING, worker, self.address)
        if is_first:
            self._emit(Kind.READY, worker)

    def _take(self, worker_id: int, message: Message) -> None:
        worker = self.workers[worker_id]
        if not self._callbacks.has(Kind.MESSAGE):
            message.fail("the primary has no callback for messages")
            logger.warning("a message of %r found no callback", worker)
        self._emit(Kind.MESSAGE, worker, message)

    def _members(self) -> list[Member]:
        leader = self._leading.leader
        return [
            Member(worker.id, worker.slot, worker.id == leader)
            for worker in self.workers.values()
            if worker.is_online and worker.state is not State.DRAINING
        ]

    def _emit(self, kind: Kind, worker: ForkedWorker, *args: Any, **detail: Any) -> None:
        self._callbacks.emit(_told(kind, worker, **detail), worker, *args)

    # -- one worker; see `hybrid.primary.forked` --------------------------------------

    def send_to(self, worker: ForkedWorker, body: Any) -> None:
        """Put a message on its way."""
        self._correspondence.send(worker.id, worker.slot, body)

    def ask(self, worker: ForkedWorker, body: Any, then: Then, timeout: float) -> None:
        """Put a request on its way."""
        self._correspondence.request(worker.id, worker.slot, body, then, timeout)

    def kill(self, worker: ForkedWorker, number: signal.Signals) -> None:
        """Send a worker a signal."""
        handle = self._crew.workers.get(worker.id)
        if handle is not None and number == signal.SIGKILL:
            self._crew.children.kill_worker(worker.id)  # its pool processes, too
        elif handle is not None:
            kill(handle.pid, handle.pidfd, number)

    def drain(self, worker: ForkedWorker) -> None:
        """Ask a worker to leave."""
        self._leave(worker, Leaving.DISCONNECT)

    def _leave(self, worker: ForkedWorker, leaving: Leaving, text: str = "") -> None:
        if worker.pid is None:
            self.workers.pop(worker.id, None)
        elif self._parting.ask(worker, leaving, time.monotonic(), text):
            self._emit(Kind.DRAIN, worker, reason=text or leaving.value)


def _told(kind: Kind, worker: ForkedWorker, **detail: Any) -> Announcement:
    return Announcement(kind, worker.slot, 1, worker.pid or 0, time.monotonic(), **detail)
