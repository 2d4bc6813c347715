"""The processes the primary has forked, and the links to them.

A `WorkerHandle` is the primary's object for a worker process; it contains
nothing of the worker's own state. Pool processes are children of the primary as
well (only the primary forks), but belong to one worker: they end with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from hybrid.config import Config
from hybrid.pool.arena.worker_resources import WorkerResources, make_worker_resources
from hybrid.pool.process.member import member_main
from hybrid.primary.startup.opening import Opened
from hybrid.primary.startup.room import fit_connections
from hybrid.system.process.fork import Child, Disposition, fork_child
from hybrid.system.process.processes import kill
from hybrid.system.sockets.channel import Channel, channel_pair
from hybrid.system.sockets.handoff_socket import HandoverPair
from hybrid.worker.context import Terminated, WorkerContext

# Signals reach the whole process group: from a terminal, from `kill -- -PGID`,
# from systemd. Only the primary acts on them; workers that ended at HUP would
# turn a reload into an outage.
_PRIMARY_ONLY = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)


@dataclass(slots=True)
class WorkerHandle:
    """A worker process: its link, its row, and the pool processes it owns."""

    id: int
    slot: int
    generation: int
    pid: int
    pidfd: int
    channel: Channel
    row: int
    resources: WorkerResources
    handover: HandoverPair | None = None  # only where the primary accepts
    pool_processes: set[int] = field(default_factory=set)  # pids of its pool processes
    is_online: bool = False  # it has run its first line of code

    def close(self) -> None:
        """Close every descriptor held for the worker."""
        self.channel.close()
        self.resources.close()
        if self.handover is not None:
            self.handover.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)


class ProcessTable:
    """The children that have not been reaped. The only place that forks, kills and reaps."""

    def __init__(
        self,
        config: Config,
        opened: Opened,
        sockets: Callable[[], list[socket.socket]],
    ) -> None:
        """Fork with these; `sockets` returns what else the primary has open."""
        self.workers: dict[int, WorkerHandle] = {}  # by worker id
        self._opened = opened
        self._listening = opened.listening
        self._scoreboard = opened.scoreboard
        self._permits = opened.permits
        self._sockets = sockets
        self._facts = opened.facts
        self._ids: dict[int, int] = {}  # worker pid -> worker id
        self._owners: dict[int, int] = {}  # pool process pid -> worker id
        self._services: set[int] = set()  # pids of processes that belong to no worker
        self.use_settings(config)

    def use_settings(self, config: Config) -> None:
        """Fork with this configuration from now on, its connections limited by descriptors."""
        self._config = fit_connections(config, self._opened.worker_fds)

    def start_worker(
        self,
        worker: int,
        slot: int,
        generation: int,
        now: float,
        run: Callable[[WorkerContext], int],
    ) -> WorkerHandle:
        """Fork a worker, whose main function is `run`.

        Raises:
            OSError: there is no room for a process or descriptor, or no free row.
        """
        listeners = tuple(listener.sock for listener in self._listening.of_slot(slot))
        with ExitStack() as undo, ExitStack() as passed_on:
            row = self._scoreboard.claim(slot, generation, now)
            if row is None:
                raise OSError("the scoreboard has no free row")
            undo.callback(self._scoreboard.release, row)
            ours, theirs = channel_pair()
            undo.callback(ours.close)
            passed_on.callback(theirs.close)
            resources = make_worker_resources()
            undo.callback(resources.close)
            handover = HandoverPair() if self._listening.handed_over else None
            if handover is not None:
                undo.callback(handover.close)
            inherited = (theirs, listeners, handover.theirs if handover is not None else None)
            context = self._context(slot, generation, row, resources, *inherited)
            child = self._fork(context, run, ours.sock, handover)
            undo.pop_all()
        self._scoreboard.row(row).set("pid", child.pid)
        handle = WorkerHandle(
            worker, slot, generation, child.pid, child.pidfd, ours, row, resources, handover
        )
        self.workers[worker] = handle
        self._ids[child.pid] = worker
        return handle

    def _context(
        self,
        slot: int,
        generation: int,
        row: int,
        resources: WorkerResources,
        channel: Channel,
        listeners: tuple[socket.socket, ...],
        handover: socket.socket | None,
    ) -> WorkerContext:
        return WorkerContext(
            config=self._config,
            slot=slot,
            generation=generation,
            row=row,
            scoreboard=self._scoreboard,
            channel=channel,
            listeners=listeners,
            handover=handover,
            resources=resources,
            permits=self._permits,
            terminated=Terminated(),
            facts=self._facts,
        )

    def _fork(
        self,
        context: WorkerContext,
        run: Callable[[WorkerContext], int],
        link: socket.socket,
        handover: HandoverPair | None,
    ) -> Child:
        keep = [context.channel.fileno(), *context.accepting_fds(), *context.resources.fds]
        if self._permits is not None:
            keep += self._permits.fds
        others = [s for s in self._listening.all() if s not in context.listeners]
        pair = [handover.ours] if handover is not None else []
        dispositions: dict[signal.Signals, Disposition] = dict.fromkeys(
            _PRIMARY_ONLY, signal.SIG_IGN
        )
        dispositions[signal.SIGTERM] = context.terminated
        return fork_child(
            lambda: run(context),
            keep,
            detach=[*self._sockets(), *self._links(), link, *others, *pair],
            dispositions=dispositions,
        )

    def fork_pool_process(self, owner: WorkerHandle) -> tuple[int, int, socket.socket]:
        """Fork a pool process for a worker.

        Returns:
            Its pid, its pidfd and the worker's end of its socket; the caller
            passes both descriptors on and closes them.

        Raises:
            OSError: there is no room for a process or descriptor.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        config, resources = self._config, owner.resources
        sys_path = (str(config.app.app_dir.absolute()),)
        try:
            child = fork_child(
                lambda: member_main(
                    theirs,
                    config.cpu,
                    arena_fd=resources.arena_fd,
                    sys_path=sys_path,
                    soft_limit=self._opened.soft_limit,
                ),
                [theirs.fileno(), *resources.fds],
                detach=[*self._sockets(), *self._links(), ours, *self._listening.all()],
                dispositions=dict.fromkeys((*_PRIMARY_ONLY, signal.SIGTERM), signal.SIG_IGN),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        owner.pool_processes.add(child.pid)
        self._owners[child.pid] = owner.id
        return child.pid, child.pidfd, ours

    def start_service(
        self, run: Callable[[], int], keep: list[int], close: list[socket.socket]
    ) -> None:
        """Fork a process that works for the primary itself; it ends with the primary.

        Raises:
            OSError: there is no room for a process.
        """
        child = fork_child(
            run,
            keep,
            detach=[*self._sockets(), *self._links(), *self._listening.all(), *close],
            dispositions=dict.fromkeys((*_PRIMARY_ONLY, signal.SIGTERM), signal.SIG_IGN),
        )
        self._services.add(child.pid)
        if child.pidfd >= 0:
            os.close(child.pidfd)

    def kill_all(self) -> None:
        """Send SIGKILL to every process."""
        for pid in self._services:
            kill(pid)
        for worker in self.workers:
            self.kill_worker(worker)

    def kill_worker(self, worker: int) -> None:
        """Send SIGKILL to a worker and its pool processes; harmless when they have exited."""
        handle = self.workers.get(worker)
        if handle is None:
            return
        kill(handle.pid, handle.pidfd)
        self.kill_pool_processes(handle)

    def kill_pool_processes(self, handle: WorkerHandle) -> None:
        """Send SIGKILL to the pool processes of a worker."""
        for pid in handle.pool_processes:
            kill(pid)  # safe without a pidfd: a child keeps its pid until we reap it

    def reap(self) -> list[tuple[WorkerHandle | None, int, int]]:
        """Reap every child that has ended; never waits.

        A pid is removed from `_ids` and from its owner's pool processes before any
        caller acts on the exit: once reaped, the kernel may give the number to
        another process, and a later kill by number would hit that one. For the same
        reason the handle stays in `workers` until `forget`: its other children are
        still killed through it.

        Returns:
            (worker, pid, status) of each. The worker is None for a pool process,
            and for an orphan that the kernel has given to this process as PID 1.
        """
        reaped: list[tuple[WorkerHandle | None, int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return reaped
            if pid == 0:
                return reaped
            worker = self._ids.pop(pid, None)
            if worker is not None:
                reaped.append((self.workers[worker], pid, status))
                continue
            self._services.discard(pid)
            if pid in self._owners:
                # Its jobs may have started programs, which nothing else would ever end: the
                # kernel kills a pool process with the primary, but not its children. They are
                # in its process group. Though the leader of the group is reaped, no other
                # process can get its number while the group has members; an empty group
                # does not exist any more, and the call fails.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            owner = self.workers.get(self._owners.pop(pid, -1))
            if owner is not None:
                owner.pool_processes.discard(pid)
            reaped.append((None, pid, status))

    def forget(self, handle: WorkerHandle) -> None:
        """Remove a reaped worker: kill its pool processes, count and free its row."""
        self.kill_pool_processes(handle)
        del self.workers[handle.id]
        self._scoreboard.release(handle.row)
        handle.close()

    @property
    def any_left(self) -> bool:
        """Whether a child has not been reaped yet."""
        return bool(self.workers or self._owners or self._services)

    def _links(self) -> list[socket.socket]:
        links = [handle.channel.sock for handle in self.workers.values()]
        for handle in self.workers.values():
            if handle.handover is not None:
                links += [handle.handover.ours, handle.handover.theirs]
        return links
