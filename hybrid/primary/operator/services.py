"""The services of a server's primary, which act after every event.

They are the control socket, systemd's notifications, the watch over hung loops,
and in development the watcher of files. None of them is needed to serve: if one
cannot start, a warning is logged and the server starts without it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from functools import partial
from pathlib import Path

from hybrid.config import Config
from hybrid.core.workers.cluster_events import ClusterEvent
from hybrid.core.workers.hang_watch import HangStep, HangWatch
from hybrid.errors import ConfigError
from hybrid.primary.operator.control_socket import ControlPort, ControlServer
from hybrid.primary.operator.notify import Notifier
from hybrid.primary.operator.watching import describe, read_changes, watch_main
from hybrid.primary.workers.process_table import ProcessTable
from hybrid.system.scoreboard.scoreboard import Scoreboard
from hybrid.system.sockets.channel import Channel, channel_pair
from hybrid.system.sockets.runtime_directory import make_runtime_directory

logger = logging.getLogger("hybrid.error")


class Services:
    """All services, behind five calls: `start`, `update`, `next_timer`, `sockets`, `close`."""

    def __init__(
        self,
        config: Config,
        port: ControlPort,
        processes: ProcessTable,
        scoreboard: Scoreboard,
        selector: selectors.BaseSelector,
        notifier: Notifier,
        hangs: HangWatch,
    ) -> None:
        """Start nothing yet."""
        self._config = config
        self._port, self._processes, self._board = port, processes, scoreboard
        self._selector, self._notifier, self._hangs = selector, notifier, hangs
        self._next_check = 0.0
        self._changes: Channel | None = None
        self.control: ControlServer | None = None

    def start(self) -> None:
        """Start what the configuration asks for."""
        self.control = self._open_control(self._config)
        if self._config.app.reload:
            self._start_watcher(self._config.app.app_dir.resolve())

    def update(self) -> None:
        """Let each service act on what has changed."""
        now = time.monotonic()
        self._notifier.send_changes(self._port.supervisor, now)
        if self.control is not None:
            self.control.update()
        if self._hangs.period is not None and now >= self._next_check:
            self._next_check = now + self._hangs.period
            self._act_on_hung(now)

    def publish(self, event: ClusterEvent) -> None:
        """Send an event to the clients of the control socket that want events."""
        if self.control is not None:
            self.control.publish(event.as_json())

    def next_timer(self) -> float | None:
        """Return the monotonic time at which `update` is due without an event."""
        control = self.control.next_timer() if self.control is not None else None
        times = [self._notifier.next_timer(), control]
        if self._hangs.period is not None:
            times.append(self._next_check)
        return min((at for at in times if at is not None), default=None)

    def sockets(self) -> list[socket.socket]:
        """Return every socket: a forked child must close them."""
        found = self.control.sockets() if self.control is not None else []
        if self._changes is not None:
            found.append(self._changes.sock)
        return found + ([self._notifier.sock] if self._notifier.sock is not None else [])

    def close(self) -> None:
        """Close everything."""
        if self.control is not None:
            self.control.close()
        self._stop_listening_to_watcher()
        self._notifier.close()

    # -- the control socket --------------------------------------------------------

    def _open_control(self, config: Config) -> ControlServer | None:
        if config.control.no_socket:
            return None
        path = config.control.socket
        try:
            path = path or make_runtime_directory() / f"{os.getpid()}.sock"
            return ControlServer(path.absolute(), self._selector, self._port)
        except OSError as ex:
            logger.warning(
                "no control socket%s: %s; `hybrid status` and the like will not find this server",
                f" at {path}" if path else "",
                ex.strerror or ex,
            )
            return None

    # -- loops that stand still ----------------------------------------------------

    def _act_on_hung(self, now: float) -> None:
        workers = self._processes.workers
        due = {w: self._board.row(handle.row).get("tick_due") for w, handle in workers.items()}
        for worker, step in self._hangs.due_steps(due, now):
            handle = workers[worker]
            stood = f"worker slot={handle.slot}: the event loop has stood still"
            if step is HangStep.DUMP:
                text = "%s for %.0f s; its stacks follow, then it is replaced (--hang-timeout)"
                logger.error(text, stood, now - due[worker])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(handle.pid, signal.SIGUSR2)  # faulthandler prints them, in every worker
            else:
                self._processes.kill_worker(worker)

    # -- files that change ---------------------------------------------------------

    def _start_watcher(self, folder: Path) -> None:
        ours, theirs = channel_pair()
        try:
            run = partial(watch_main, theirs, folder)
            self._processes.start_service(run, keep=[theirs.fileno()], close=[ours.sock])
        except OSError as ex:
            ours.close()
            logger.warning("no watcher of files: %s", ex)
            return
        finally:
            theirs.close()
        self._changes = ours
        self._selector.register(ours, selectors.EVENT_READ, self._on_changes)
        logger.info("watching %s for changes", folder)

    def _on_changes(self) -> None:
        assert self._changes is not None
        try:
            names = read_changes(self._changes)
        except EOFError:
            logger.warning("the watcher of files has exited; changes are not noticed any more")
            self._stop_listening_to_watcher()
            return
        if names:
            logger.info("changed: %s", describe(names))
            try:
                self._port.reload()
            except ConfigError as ex:
                logger.error("no reload, nothing has changed: %s", ex)

    def _stop_listening_to_watcher(self) -> None:
        if self._changes is not None:
            self._selector.unregister(self._changes)
            self._changes.close()
            self._changes = None
