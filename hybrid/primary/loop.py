"""The primary's loop: wait, turn what came into an event, perform the actions.

     signals ---+                                     +--> fork, kill (ProcessTable)
     links -----+--> event --> Supervisor.handle() ---+--> a frame to a worker
     time ------+              (pure, core/)          +--> a log line, the exit

The loop runs a cluster for its `ClusterOwner`: `hybrid.primary.serving` (``hybrid serve``)
or `hybrid.primary.script.script_primary` (a script that is its own primary).

Rule 1: no decision is taken here; a new behaviour is a new event or action.
Rule 2: `_wait` is the only place that waits.
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
from collections.abc import Iterable, Iterator, Sequence

from hybrid.config import Config, RestartConfig
from hybrid.core.messages import link_messages as m
from hybrid.core.workers import events as e
from hybrid.core.workers.cluster_events import EventKind
from hybrid.core.workers.hang_watch import HangWatch
from hybrid.core.workers.lifecycle import WorkerState
from hybrid.core.workers.restart import RestartPolicy
from hybrid.core.workers.roster import Work
from hybrid.core.workers.supervision import Supervisor
from hybrid.errors import LinkError
from hybrid.primary.cluster_owner import ClusterOwner
from hybrid.primary.connections.distributor import make_distributor
from hybrid.primary.messages.members import Members
from hybrid.primary.startup.opening import Opened
from hybrid.primary.workers.event_log import EventLog
from hybrid.primary.workers.process_table import ProcessTable, WorkerHandle
from hybrid.system.process.processes import describe_exit
from hybrid.system.process.signals import SignalQueue

logger = logging.getLogger("hybrid.error")

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LONGEST_WAIT = 3600.0  # s of one poll; a later timer is compared again
_LAST_WAIT = 5.0  # s for killed children to be reaped before the primary leaves


class PrimaryLoop:
    """A cluster: its processes and links, and what the supervisor decides about them."""

    def __init__(
        self,
        owner: ClusterOwner,
        config: Config,
        opened: Opened,
        signals: Iterable[signal.Signals],
        *,
        work: Work,
        workers: int,
        most: int,
    ) -> None:
        """Fork nothing yet: `run` does, and `handle` called before it."""
        listening, scoreboard = opened.listening, opened.scoreboard
        self.exit_code: int | None = None  # set: the loop ends
        self.address = opened.address
        self.selector = selectors.PollSelector()
        self.processes = ProcessTable(config, opened, self._sockets)
        self.supervisor = _make_supervisor(config.restart, work, workers, most)
        self.hangs = HangWatch(config.restart.hang_timeout)
        self.event_log = EventLog(self.supervisor, scoreboard, self.hangs.killed)
        self.members = Members(
            self.supervisor, self.processes, self.send, self.event_log, owner.on_mail
        )
        self._owner = owner
        self._listening = listening
        self._signals = SignalQueue((signal.SIGCHLD, *signals))
        self._distributor = make_distributor(
            listening,
            self.selector,
            lambda worker: self.processes.workers[worker].row,
            scoreboard,
        )
        self._is_closed = False  # messages of workers have no effect any more

    def run(self) -> int:
        """Fork the workers, supervise them, return the exit code."""
        with self._signals:
            self.selector.register(self._signals, selectors.EVENT_READ, self._on_signals)
            try:
                self._owner.begin()
                self._reap()  # children that died before the signal queue existed
                self._turn()
                while self.exit_code is None and not self._owner.is_over():
                    self._wait()
                    self._turn()
                return self.exit_code or 0
            finally:
                self._close()

    def _turn(self) -> None:
        self.handle(e.Tick())
        self._owner.after_wait()
        self._distributor.distribute()

    def _wait(self) -> None:
        """Wait for a signal, a descriptor or a timer, and handle what came."""
        times = (
            self.supervisor.next_timer(),
            self._owner.next_timer(),
            self._distributor.next_timer(),
        )
        due = [at for at in times if at is not None]
        # poll(2) counts milliseconds in an int: about 24 days are too much for it.
        timeout = min(_LONGEST_WAIT, max(0.0, min(due) - time.monotonic())) if due else None
        ready = self.selector.select(timeout)
        # Signals first: a TERM to the whole group arrives with the workers' answers to it.
        for key, _ in sorted(ready, key=lambda item: item[0].fileobj is not self._signals):
            key.data()

    # -- what came ---------------------------------------------------------------

    def handle(self, event: e.Event) -> None:
        """Pass an event to the supervisor, and perform the actions that follow."""
        for action in self.supervisor.handle(event, time.monotonic()):
            self._perform(action)
        self.members.update_leader()
        self._owner.after_event()

    def _on_signals(self) -> None:
        numbers = self._signals.take()
        for number in numbers:
            if number != signal.SIGCHLD:
                self._owner.on_signal(number)
        if signal.SIGCHLD in numbers:
            self._reap()

    def _reap(self) -> None:
        for handle, status in self._reaped():
            self.members.note_exit(handle.id)
            self.event_log.publish_exit(handle, status)
            code = os.waitstatus_to_exitcode(status)
            how = f"pid {handle.pid}, {describe_exit(status)}"
            self.handle(e.WorkerExited(handle.id, how, code if code >= 0 else None))

    def _reaped(self) -> Iterator[tuple[WorkerHandle, int]]:
        """Yield every worker that has ended, with its status from ``waitpid``; never waits.

        The order prevents three accidents. The link is read before it is closed:
        its last frames say why a boot failed. The distributor takes back unanswered
        connections while the pair of sockets is still open. The row and the pool
        processes go last, when no event can refer to the worker any more.
        """
        for handle, pid, status in self.processes.reap():
            if handle is None:
                logger.debug("pool process pid=%d ended: %s", pid, describe_exit(status))
                continue
            self._on_link(handle)  # what it sent before its death may still be in the socket
            self._unwatch(handle)
            self._distributor.leave(handle.id, dead=True)
            self.processes.forget(handle)
            yield handle, status

    def _on_message(self, handle: WorkerHandle, message: m.Message) -> None:
        match message:
            case m.Online():
                handle.is_online = True
                self.event_log.publish(EventKind.ONLINE, handle)
            case m.Ready(listening):
                self._on_ready(handle, listening)
            case m.BootFailed(kind, text):
                self.handle(e.WorkerFailedToBoot(handle.id, kind, text))
            case m.Leave(leaving, text):
                self.handle(e.WorkerWantsToLeave(handle.id, leaving, text))
            case m.LeftDistribution():
                self.handle(e.WorkerLeftDistribution(handle.id))
            case m.Mail() | m.LeadGivenUp():
                self.members.handle(handle, message)
            case m.QueueEmptied():
                self.handle(e.BacklogEmptied(handle.id))
            case m.ForkPoolProcess(request):
                self._fork_pool_process(handle, request)
            case _:
                raise LinkError(f"a worker may not send {type(message).__name__}")

    def _on_ready(self, handle: WorkerHandle, listening: bool) -> None:
        worker = self.supervisor.workers[handle.id]
        if worker.has_listened:
            raise LinkError("a worker may be ready only once")
        was_ready = worker.ready_at is not None
        if listening:
            self.event_log.publish(EventKind.LISTENING, handle, text=self.address)
        if not was_ready:
            self.event_log.publish(EventKind.READY, handle)
        self.handle(e.WorkerReady(handle.id, listening))
        if listening and worker.state is WorkerState.READY:  # and not draining
            self._distributor.join(handle.id, handle.handover)

    # -- what to do --------------------------------------------------------------

    def _perform(self, action: e.Action) -> None:  # noqa: C901 - one line an action
        match action:
            case e.StartWorker(worker, slot, generation):
                self._start(worker, slot, generation)
            case e.DrainWorker():
                self._drain(action)
            case e.KillWorker(worker):
                self.processes.kill_worker(worker)
            case e.CloseListeners(worker):
                self._close_listeners(worker)
            case e.ReloadBegun(generation):
                self.event_log.publish(EventKind.RELOAD, text=f"generation {generation}")
            case e.Scaled(before, target):
                self.event_log.publish(EventKind.SCALE, text=f"from {before} to {target} workers")
            case e.StopBegun():
                self.event_log.publish(EventKind.STOP)
                self._distributor.stop_accepting()
            case e.AllReady(generation):
                self.event_log.publish(EventKind.READY, text=f"generation {generation}")
                self._owner.on_all_ready(generation)
            case e.ReloadAborted(generation):
                self.event_log.publish_abort(generation)
                self._owner.on_aborted(generation)
            case e.Log(level, text):
                logger.log(_LEVELS[level], "%s", text)
            case e.Exit(code):
                self.exit_code = code

    def _start(self, worker: int, slot: int, generation: int) -> None:
        run = self._owner.run_of(slot)
        try:
            handle = self.processes.start_worker(worker, slot, generation, time.monotonic(), run)
        except OSError as ex:
            self.handle(e.WorkerNotForked(worker, str(ex)))
            return
        self.selector.register(handle.channel, selectors.EVENT_READ, lambda: self._on_link(handle))
        logger.debug("worker slot=%d generation=%d pid=%d forked", slot, generation, handle.pid)
        self.event_log.publish(EventKind.FORK, handle)

    def _drain(self, order: e.DrainWorker) -> None:
        handle = self.processes.workers.get(order.worker)
        if handle is None:
            return
        if not order.again:
            self.event_log.publish(EventKind.DRAIN, handle, reason=order.reason)
        if handle.slot not in self.supervisor.roster.wanted:
            self._listening.retire(handle.slot)
        if order.final:
            self._distributor.keep_last(handle.id)
        else:
            self._distributor.leave(handle.id)
        fds = [sock.fileno() for sock in self._listening.all()] if order.final else []
        self.send(handle.id, m.Drain(order.grace, order.final, order.reason), fds)

    def _close_listeners(self, worker: int | None) -> None:
        """Close the primary's copies; inform `worker`, if any, that it has the last ones."""
        self._listening.close()
        if worker is not None:
            self.send(worker, m.ListenersClosed())

    def _fork_pool_process(self, handle: WorkerHandle, request: int) -> None:
        """Fork a pool process for a worker, and pass its socket and pidfd to the worker."""
        try:
            pid, pidfd, sock = self.processes.fork_pool_process(handle)
        except OSError as ex:
            self.send(handle.id, m.ForkRefused(request, str(ex)))
            return
        with sock:
            fds = (sock.fileno(),) if pidfd < 0 else (sock.fileno(), pidfd)
            self.send(handle.id, m.PoolProcessForked(request, pid), fds)
        if pidfd >= 0:
            os.close(pidfd)

    # -- links -------------------------------------------------------------------

    def send(self, worker: int, message: m.Message, fds: Sequence[int] = ()) -> None:
        """Send to a worker, now or when it reads; harmless when it has exited."""
        handle = self.processes.workers.get(worker)
        if handle is None:
            return
        try:
            handle.channel.send(m.encode(message), fds)
        except OSError as ex:
            logger.debug("worker slot=%d has exited: %s", handle.slot, ex)
            return
        self._watch(handle)

    def _on_link(self, handle: WorkerHandle) -> None:
        if handle.id not in self.processes.workers:
            return  # reaped earlier in this round of the loop
        try:
            if handle.channel.wants_write and handle.channel.flush():
                self._watch(handle)
            for frame in handle.channel.receive():
                if not self._is_closed:
                    self._on_message(handle, m.decode(frame.payload))
        except (EOFError, ConnectionError, BrokenPipeError):
            self._unwatch(handle)  # its exit will be reaped
        except LinkError as ex:
            # The fault is in that worker; the frames after a broken one cannot be trusted.
            logger.error(
                "worker slot=%d sent an invalid message: %s; it is killed", handle.slot, ex
            )
            self._unwatch(handle)
            self.processes.kill_worker(handle.id)

    def _watch(self, handle: WorkerHandle) -> None:
        """Wait for writability only while something waits to be written."""
        interest = selectors.EVENT_READ
        if handle.channel.wants_write:
            interest |= selectors.EVENT_WRITE
        with contextlib.suppress(KeyError):
            self.selector.modify(handle.channel, interest, lambda: self._on_link(handle))

    def _unwatch(self, handle: WorkerHandle) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(handle.channel)

    # -- the end -----------------------------------------------------------------

    def _close(self) -> None:
        """Kill and reap every process that is left; close every descriptor."""
        self._is_closed = True
        self.processes.kill_all()
        deadline = time.monotonic() + _LAST_WAIT
        while self.processes.any_left and time.monotonic() < deadline:
            for _ in self._reaped():
                pass
            if self.processes.any_left:
                self.selector.select(0.05)
                self._signals.take()
        self._owner.close()
        self._distributor.close()
        self.selector.close()
        self._listening.close()

    def _sockets(self) -> list[socket.socket]:
        """Return the sockets that a child must close, without links and listeners."""
        ours = [self._signals.reader, self._signals.writer]
        return [*ours, *self._distributor.sockets(), *self._owner.sockets()]


def _make_supervisor(restart: RestartConfig, work: Work, workers: int, most: int) -> Supervisor:
    return Supervisor(
        workers,
        grace=restart.graceful_timeout,
        policy=RestartPolicy(restart.intensity, restart.period),
        max_surge=restart.max_surge,
        boot_timeout=restart.boot_timeout,
        most=most,
        jitter=random.Random().random,
        now=time.monotonic(),
        work=work,
    )
