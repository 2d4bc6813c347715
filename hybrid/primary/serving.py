"""The primary of ``hybrid serve``: the operator's requests, and the services of a server."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import orjson

from hybrid.config import LogConfig
from hybrid.core.messages import link_messages as m
from hybrid.core.messages.mail import MailKind
from hybrid.core.workers import events as e
from hybrid.core.workers.cluster_events import EventKind
from hybrid.core.workers.roster import APPLICATION
from hybrid.primary.loop import PrimaryLoop
from hybrid.primary.operator.configuration import Configuration, SettingsReload
from hybrid.primary.operator.control_socket import ControlPort, cluster_status
from hybrid.primary.operator.notify import Notifier
from hybrid.primary.operator.services import Services
from hybrid.primary.operator.terminal import Terminal
from hybrid.primary.startup.opening import Opened, most_workers
from hybrid.primary.workers.process_table import WorkerHandle
from hybrid.worker.context import WorkerContext
from hybrid.worker.worker import worker_main

logger = logging.getLogger("hybrid.error")

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_SHOWN = 1024  # bytes; a larger message to the primary is published without its body


class ServingPrimary:
    """A loop with what only a server has: control socket, settings, systemd, terminal."""

    def __init__(
        self,
        opened: Opened,
        on_ready: Callable[[int], None],
        configuration: Configuration,
        notifier: Notifier,
        set_logging: Callable[[LogConfig], None],
    ) -> None:
        """Call `on_ready` with the generation when all its workers are ready."""
        config = configuration.current
        self._opened, self._on_ready, self._configuration = opened, on_ready, configuration
        self._terminal = Terminal.at_start()
        self._loop = loop = PrimaryLoop(
            self,
            config,
            opened,
            _SIGNALS,
            work=APPLICATION,
            workers=config.io_workers,
            most=most_workers(config),
        )
        self._settings_reload = SettingsReload(
            configuration,
            loop.supervisor,
            loop.processes,
            loop.hangs,
            opened.facts,
            set_logging,
            loop.handle,
        )
        port = ControlPort(loop.supervisor, loop.handle, self._settings_reload.reload, self.status)
        self._services = Services(
            config,
            port,
            loop.processes,
            opened.scoreboard,
            loop.selector,
            notifier,
            loop.hangs,
        )
        loop.event_log.publisher.subscribers.append(self._services.publish)

    def run(self) -> int:
        """Fork the workers, supervise them, return the exit code."""
        return self._loop.run()

    def status(self) -> dict[str, Any]:
        """Return the cluster as `hybrid status` shows it."""
        loop, opened = self._loop, self._opened
        return cluster_status(
            loop.supervisor, loop.processes, opened.scoreboard, opened.permits, opened.facts
        )

    # -- for the loop; see `hybrid.primary.cluster_owner` ------------------------------

    def begin(self) -> None:
        """Start the control socket and the other services."""
        self._services.start()

    def run_of(self, slot: int) -> Callable[[WorkerContext], int]:
        """Return the main function of a server's worker, the same in every slot."""
        return worker_main

    def on_signal(self, number: signal.Signals) -> None:
        """Act on an operator's signal."""
        match number:
            case signal.SIGTERM | signal.SIGINT:
                logger.info("received %s", number.name)
                self._loop.handle(e.StopAsked(quick=False))
            case signal.SIGQUIT:
                self._loop.handle(e.StopAsked(quick=True))
            case signal.SIGHUP if self._terminal.is_gone():
                self._on_closed_terminal()
            case signal.SIGHUP:
                self._settings_reload.reload_or_log()
            case signal.SIGTTIN:
                self._loop.handle(e.ScaleAsked(+1))
            case signal.SIGTTOU:
                self._loop.handle(e.ScaleAsked(-1))
            case _:
                logger.debug("%s has no effect here", number.name)

    def on_mail(self, handle: WorkerHandle, mail: m.Mail) -> None:
        """Publish a message, refuse a request: nothing of the application runs here."""
        if mail.kind == MailKind.SEND.value:
            size = len(orjson.dumps(mail.body))
            shown: dict[str, Any] = {"body": mail.body}
            if size > _SHOWN:
                shown = {"text": f"a message of {size} bytes"}
            self._loop.event_log.publish(EventKind.MESSAGE, handle, **shown)
        elif mail.kind == MailKind.REQUEST.value:
            why = "nothing of the application runs in the primary: ask a slot, or the leader"
            self._loop.send(handle.id, m.Mail(MailKind.FAILURE.value, mail.number, "", why))

    def on_all_ready(self, generation: int) -> None:
        """Confirm the settings with which it is ready."""
        self._configuration.confirm()
        self._on_ready(generation)

    def on_aborted(self, generation: int) -> None:
        """Return to the settings of the generation that stays."""
        self._settings_reload.revert()

    def after_event(self) -> None:
        """Let the services act on what has changed."""
        self._services.update()

    def after_wait(self) -> None:
        """Stop if the terminal was closed."""
        if self._terminal.was_closed(time.monotonic()):
            self._on_closed_terminal()

    def is_over(self) -> bool:
        """Return False: a server ends by a stop only."""
        return False

    def next_timer(self) -> float | None:
        """Return when a service or the terminal has to be checked."""
        times = (self._services.next_timer(), self._terminal.next_check())
        return min((at for at in times if at is not None), default=None)

    def sockets(self) -> list[socket.socket]:
        """Return those of the services."""
        return self._services.sockets()

    def close(self) -> None:
        """Close the services."""
        self._services.close()

    def _on_closed_terminal(self) -> None:
        logger.info("the terminal was closed")
        self._loop.handle(e.StopAsked(quick=False))
