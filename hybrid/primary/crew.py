"""The workers of a primary, and everything between them and its loop.

     signals ---+
     links -----+--> `wait` --> hear(handle, message), on_signals(), whoever registered
     time ------+
     start, tell, drain, reap, close <-- whoever decides: the supervisor, or a script

Nothing is decided here. `hybrid.primary.main` (``hybrid serve``) and
`hybrid.primary.script` (a script that is its own primary) are both built on it.

Rule 1: `wait` is the only place that waits.
Rule 2: every descriptor is unregistered before it is closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from hybrid.config import Config
from hybrid.core import messages as m
from hybrid.core.handover import Rota
from hybrid.core.scheduling import Policy
from hybrid.errors import LinkError
from hybrid.primary.children import Children, WorkerHandle
from hybrid.primary.distributor import Distributor, least_loaded
from hybrid.primary.opening import Opened
from hybrid.system.processes import describe_exit
from hybrid.system.signals import SignalQueue
from hybrid.worker.context import WorkerContext
from hybrid.worker.main import worker_main

logger = logging.getLogger("hybrid.error")

_LONGEST_WAIT = 3600.0  # s of one poll; a timer further away is looked at again
_LAST_WAIT = 5.0  # s for killed children to be reaped before the primary leaves


class Crew:
    """Processes, links, signals and connections of one primary."""

    def __init__(
        self,
        config: Config,
        opened: Opened,
        signals: Iterable[signal.Signals],
        hear: Callable[[WorkerHandle, m.Message], None],
    ) -> None:
        """Pass what workers say to `hear`, which raises LinkError for what they may not say."""
        self.selector = selectors.PollSelector()
        self.signals = SignalQueue(signals)
        self.children = Children(config, opened, self._sockets)
        self.other_sockets: Callable[[], list[socket.socket]] = list  # a child forgets them
        self._listening = listening = opened.listening
        self._hear = hear
        self._distributor: Distributor | None = None
        if listening.handed_over:
            is_turn = listening.policy is Policy.ROUND_ROBIN
            rota = Rota() if is_turn else least_loaded(self.children, opened.scoreboard)
            self._distributor = Distributor(listening.all(), self.selector, rota)

    @property
    def workers(self) -> dict[int, WorkerHandle]:
        """The workers that have not been reaped, by id."""
        return self.children.workers

    # -- waiting -------------------------------------------------------------------

    def wait(self, timers: Sequence[float | None]) -> None:
        """Wait for whatever comes first, at most until the earliest of `timers`; deal with it."""
        times = [*timers, self._distributor.next_timer() if self._distributor else None]
        due = [at for at in times if at is not None]
        # poll(2) counts milliseconds in an int: about 24 days are too much for it.
        patience = min(_LONGEST_WAIT, max(0.0, min(due) - time.monotonic())) if due else None
        ready = self.selector.select(patience)
        # Signals first: a TERM to the whole group arrives with the workers' answers to it.
        for key, _ in sorted(ready, key=lambda item: item[0].fileobj is not self.signals):
            key.data()

    def watch_signals(self, on_signals: Callable[[], None]) -> None:
        """Call `on_signals` when one has come; call it once `signals` is entered."""
        self.selector.register(self.signals, selectors.EVENT_READ, on_signals)

    def go_on(self) -> None:
        """Find takers for the connections that wait in the primary."""
        if self._distributor is not None:
            self._distributor.go_on()

    # -- one worker ----------------------------------------------------------------

    def start(
        self,
        worker: int,
        slot: int,
        generation: int,
        run: Callable[[WorkerContext], int] = worker_main,
    ) -> WorkerHandle:
        """Fork a worker.

        Raises:
            OSError: no room for a process or descriptor, or no free row.
        """
        handle = self.children.start_worker(worker, slot, generation, time.monotonic(), run)
        self.selector.register(handle.channel, selectors.EVENT_READ, lambda: self._on_link(handle))
        logger.debug("worker slot=%d generation=%d pid=%d forked", slot, generation, handle.pid)
        return handle

    def join(self, handle: WorkerHandle) -> None:
        """Let a worker take connections from now on."""
        if self._distributor is not None:
            self._distributor.join(handle)

    def tell(self, worker: int, message: m.Message, fds: Sequence[int] = ()) -> None:
        """Write to a worker, now or when it reads; harmless when it is gone."""
        handle = self.workers.get(worker)
        if handle is None:
            return
        try:
            handle.channel.send(m.encode(message), fds)
        except OSError as ex:
            logger.debug("worker slot=%d is gone: %s", handle.slot, ex)
            return
        self._watch(handle)

    def drain(self, worker: int, order: m.Drain) -> None:
        """Give a worker its order to leave."""
        if self._distributor is not None:
            if order.final:
                self._distributor.last_resort(worker)
            else:
                self._distributor.leave(worker)
        fds = [sock.fileno() for sock in self._listening.all()] if order.final else []
        self.tell(worker, order, fds)

    def reap(self) -> Iterator[tuple[WorkerHandle, int]]:
        """Yield every worker that has ended, with its status from ``waitpid``; never waits."""
        for handle, pid, status in self.children.reap():
            if handle is None:
                logger.debug("pool process pid=%d ended: %s", pid, describe_exit(status))
                continue
            self._on_link(handle)  # its last words may still be in the socket
            self._unwatch(handle)
            if self._distributor is not None:
                self._distributor.leave(handle.id, dead=True)
            self.children.forget(handle)
            yield handle, status

    def hatch(self, handle: WorkerHandle, request: int) -> None:
        """Fork a pool process for a worker, and pass it its socket and pidfd."""
        try:
            pid, pidfd, sock = self.children.hatch(handle)
        except OSError as ex:
            self.tell(handle.id, m.HatchRefused(request, str(ex)))
            return
        with sock:
            fds = (sock.fileno(),) if pidfd < 0 else (sock.fileno(), pidfd)
            self.tell(handle.id, m.Hatched(request, pid), fds)
        if pidfd >= 0:
            os.close(pidfd)

    # -- links ---------------------------------------------------------------------

    def _on_link(self, handle: WorkerHandle) -> None:
        if handle.id not in self.workers:
            return  # reaped earlier in this round of the loop
        try:
            if handle.channel.wants_write and handle.channel.flush():
                self._watch(handle)
            for frame in handle.channel.receive():
                self._hear(handle, m.decode(frame.payload))
        except (EOFError, ConnectionError, BrokenPipeError):
            self._unwatch(handle)  # its exit will be reaped
        except LinkError as ex:
            # Whatever garbled the link is in that worker, so that worker pays for it.
            logger.error("worker slot=%d sent garbage: %s; it is killed", handle.slot, ex)
            self._unwatch(handle)
            self.children.kill_worker(handle.id)

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

    # -- the end -------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Leave what comes now in the backlog, for the last acceptor."""
        if self._distributor is not None:
            self._distributor.stop_accepting()

    def close_listeners(self, worker: int | None) -> None:
        """Close the primary's copies; `worker`, if any, is told that it has the last ones."""
        self._listening.close()
        if worker is not None:
            self.tell(worker, m.ListenersClosed())

    def kill_all(self) -> None:
        """Send SIGKILL to everybody, and wait a little for them to be gone."""
        self._hear = lambda handle, message: None  # last words change nothing any more
        self.children.kill_services()
        for worker in list(self.workers):
            self.children.kill_worker(worker)
        deadline = time.monotonic() + _LAST_WAIT
        while self.children.any_left and time.monotonic() < deadline:
            for _ in self.reap():
                pass
            if self.children.any_left:
                self.selector.select(0.05)
                self.signals.take()

    def close(self) -> None:
        """Give back every descriptor. Kill everybody first."""
        if self._distributor is not None:
            self._distributor.close()
        self.selector.close()
        self._listening.close()

    def _sockets(self) -> list[socket.socket]:
        """Return the sockets that a child must forget, links and listeners apart."""
        others = self._distributor.sockets() if self._distributor is not None else []
        return [self.signals.reader, self.signals.writer, *others, *self.other_sockets()]
