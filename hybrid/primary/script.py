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
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hybrid.config import AppConfig, Config, LogConfig
from hybrid.core import messages as m
from hybrid.core.announcements import Announcement, ExitReason, Kind, exit_reason
from hybrid.core.lifecycle import Happening, State, advance
from hybrid.core.mail import Member
from hybrid.core.reforking import Reforking
from hybrid.core.restart import YOUNG, RestartPolicy
from hybrid.core.supervision import EXIT_GAVE_UP, EXIT_NEVER_READY
from hybrid.errors import ConfigError, LinkError, MailboxFull, NoSuchWorker, NotInCluster
from hybrid.primary.children import WorkerHandle
from hybrid.primary.correspondence import Correspondence, Then
from hybrid.primary.crew import Crew
from hybrid.primary.forked import ForkedWorker
from hybrid.primary.leading import Leading
from hybrid.primary.opening import open_cluster
from hybrid.primary.parting import Parting
from hybrid.system.out_of_memory import OutOfMemoryKills
from hybrid.system.processes import kill, thread_count
from hybrid.worker.mailbox import Message
from hybrid.worker.program import Program

logger = logging.getLogger("hybrid.error")

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
EVENTS = ("fork", "online", "listening", "ready", "message", "drain", "exit")

Callback = TypeVar("Callback", bound=Callable[..., object])


class Primary:
    """The primary: forks workers, hears what happens to them, talks to them."""

    def __init__(self, bind: str | Sequence[str] = (), *, config: Config | None = None) -> None:
        """Open the listening sockets; they stay open until `run` returns.

        Args:
            bind: HOST:PORT or unix:PATH, or several; none: workers only take messages.
            config: everything that ``hybrid serve`` has flags for; the number of
                workers and the application in it mean nothing here.

        Raises:
            ConfigError: an address cannot be bound.
        """
        self.workers: dict[int, ForkedWorker] = {}  # by id; who has not exited
        self._config = config = _complete(config, bind)
        opened = open_cluster(config)
        self.address = opened.address  # a URL to paste; of several, separated by commas
        self._crew = Crew(
            config,
            opened.listening,
            opened.scoreboard,
            opened.permits,
            opened.facts,
            _SIGNALS,
            self._hear,
        )
        self._pid = os.getpid()
        self._callbacks: dict[str, list[Callable[..., object]]] = {name: [] for name in EVENTS}
        self._events: deque[tuple[Announcement, tuple[Any, ...]]] = deque()
        self._leading = Leading(self, self._crew.tell)
        self._correspondence = Correspondence(self._crew, self._members, self._take)
        self._parting = Parting(self._crew, self.workers, config.restart.graceful_timeout)
        self._oom_kills = OutOfMemoryKills()
        policy = RestartPolicy(config.restart.intensity, config.restart.period)
        self._reforking = Reforking(policy, random.Random().random, time.monotonic())
        self._next_id = 1
        self._ever_settled = False
        self._has_warned = False  # of threads
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
        """
        if name not in self._callbacks:
            raise ConfigError(f"there is no event {name!r}, only {', '.join(EVENTS)}")

        def register(callback: Callback) -> Callback:
            self._callbacks[name].append(callback)
            return callback

        return register

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
        self._check_may_fork()
        slot = next(n for n in range(1, len(self.workers) + 2) if n not in self._slots())
        worker = ForkedWorker(self._next_id, slot, Program(program, args, env or {}), self)
        self._next_id += 1
        if self.stopping:
            worker.state = advance(worker.state, Happening.EXIT)
        else:
            self._start_if_due(worker, time.monotonic())
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
        for worker in [w for w in self.workers.values() if w.pid is None]:
            del self.workers[worker.id]
        for worker in self._parting.begin(time.monotonic()):
            self._emit(Kind.DRAIN, worker, reason="stop")

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
        while True:
            now = time.monotonic()
            self._correspondence.look(now)
            self._parting.look(now)
            self._start_waiting(now)
            self._judge(now)
            for appointed in self._leading.update():
                self._tell_leader(Kind.LEADER, self.workers[appointed])
            self._crew.go_on()
            if not self._events:
                return
            self._deliver()

    def _timers(self) -> list[float | None]:
        starts = [self._reforking.start_at(w.slot) for w in self.workers.values() if w.pid is None]
        return [self._parting.next_timer(), self._correspondence.next_timer(), *starts]

    def _judge(self, now: float) -> None:
        """Give up when workers die young and none lives."""
        if any(_is_settled(worker, now) for worker in self.workers.values()):
            self._ever_settled = True
            self._reforking.was_ready(now)
        elif self._reforking.gives_up(now) and not self.stopping:
            logger.error("workers keep dying young and none lives: giving up")
            self._code = EXIT_GAVE_UP if self._ever_settled else EXIT_NEVER_READY
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
            young = not _is_settled(worker, now) and worker.code != 0
            if worker.leaving is None:
                self._reforking.died(worker.slot, young, now)
            worker.state = advance(worker.state, Happening.EXIT)
            self._leading.gone(worker.id)
            self._correspondence.gone(worker.id)
            self._parting.gone(worker.id)
            detail = {"code": worker.code, "signal": worker.signal, "reason": worker.reason}
            self._emit(Kind.EXIT, worker, worker.code, worker.signal, **detail)

    def _reason(self, worker: ForkedWorker) -> str:
        if worker.code == 0 and worker.leaving is None:
            return ExitReason.FINISHED.value
        killed = worker.signal == signal.SIGKILL and self._oom_kills.happened()
        return exit_reason(
            worker.state, worker.leaving, worker.signal, worker.code, out_of_memory=killed
        ).value

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
            case m.Leave(reason):
                self._leave(worker, reason)
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
        if not self._callbacks["message"]:
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

    # -- callbacks -------------------------------------------------------------------

    def _emit(self, kind: Kind, worker: ForkedWorker, *args: Any, **detail: Any) -> None:
        """Keep an event for `_deliver`: a callback is never called inside another one."""
        told = Announcement(kind, worker.slot, 1, worker.pid or 0, time.monotonic(), **detail)
        self._events.append((told, (worker, *args)))

    def _deliver(self) -> None:
        while self._events:
            told, args = self._events.popleft()
            self._leading.tell(told)
            for callback in self._callbacks[told.kind.value]:
                try:
                    callback(*args)
                except Exception as ex:
                    name = getattr(callback, "__qualname__", repr(callback))
                    logger.exception("callback %s for %s raised", name, told.kind.value)
                    if told.kind is Kind.MESSAGE:
                        args[1].fail(f"callback {name} raised {type(ex).__name__}: {ex}")

    def _tell_leader(self, kind: Kind, worker: ForkedWorker) -> None:
        now = time.monotonic()
        self._leading.tell(Announcement(kind, worker.slot, 1, worker.pid or 0, now))

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
        self._leave(worker, "disconnect")

    def _leave(self, worker: ForkedWorker, reason: str) -> None:
        if worker.pid is None:
            self.workers.pop(worker.id, None)
        elif self._parting.ask(worker, reason, time.monotonic()):
            self._emit(Kind.DRAIN, worker, reason=reason)

    # -- forking ---------------------------------------------------------------------

    def _slots(self) -> set[int]:
        return {worker.slot for worker in self.workers.values()}

    def _check_may_fork(self) -> None:
        if os.getpid() != self._pid:
            raise NotInCluster("only the primary forks, and this process is a worker")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise ConfigError("a primary runs no asyncio: its workers would inherit the loop")
        if thread_count() > 1 and not self._has_warned:
            self._has_warned = True
            logger.warning("forking beside other threads: a lock one holds stays locked for ever")

    def _start_waiting(self, now: float) -> None:
        """Fork what the policy has kept waiting; nobody is there to be told of an error."""
        for worker in [w for w in self.workers.values() if w.pid is None]:
            try:
                self._start_if_due(worker, now)
            except OSError as ex:
                logger.error("cannot fork a worker for slot %d: %s", worker.slot, ex)
                self._reforking.died(worker.slot, young=True, now=now)

    def _start_if_due(self, worker: ForkedWorker, now: float) -> None:
        if now >= self._reforking.start_at(worker.slot):
            handle = self._crew.start(worker.id, worker.slot, 1, worker.program.main)
            worker.pid, worker.started_at = handle.pid, now
            self._emit(Kind.FORK, worker)


def _is_settled(worker: ForkedWorker, now: float) -> bool:
    """Return whether a worker has lived long enough for its death to be bad luck."""
    since = worker.ready_at or worker.started_at
    return worker.pid is not None and now - since >= YOUNG


def _complete(config: Config | None, bind: str | Sequence[str]) -> Config:
    """Return the configuration of a script that names its addresses."""
    addresses = (bind,) if isinstance(bind, str) else tuple(bind)
    if config is None:
        folder = Path(sys.path[0] or ".") if sys.path else Path()
        config = Config(app=AppConfig(app_dir=folder), log=LogConfig(access=False))
    if config.scheduling == "reuseport":
        raise ConfigError("reuseport needs a fixed number of workers: hybrid serve")
    return replace(config, bind=replace(config.bind, addresses=addresses))
