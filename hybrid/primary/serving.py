"""The primary of ``hybrid serve``: an operator's wishes, and what stands beside the loop."""

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
_SHOWN = 1024  # bytes; a larger message to the primary is announced without its body


class ServingPrimary:
    """Everything the primary of a server holds; `run` is its life."""

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
        self._renewal = SettingsReload(
            configuration,
            loop.supervisor,
            loop.processes,
            loop.hangs,
            opened.facts,
            set_logging,
            loop.feed,
        )
        desk = ControlPort(loop.supervisor, loop.feed, self._renewal.reload, self.status)
        self._attendants = Services(
            config,
            desk,
            loop.processes,
            opened.scoreboard,
            loop.selector,
            notifier,
            loop.hangs,
        )
        loop.herald.announcer.subscribers.append(self._attendants.publish)

    def run(self) -> int:
        """Fork the workers, watch over them, return the exit code."""
        return self._loop.run()

    def status(self) -> dict[str, Any]:
        """Return the cluster as `hybrid status` shows it."""
        loop, opened = self._loop, self._opened
        return cluster_status(
            loop.supervisor, loop.processes, opened.scoreboard, opened.permits, opened.facts
        )

    # -- for the loop; see `hybrid.primary.loop.Owner` ------------------------------

    def begin(self) -> None:
        """Start the control socket and the rest."""
        self._attendants.start()

    def run_of(self, slot: int) -> Callable[[WorkerContext], int]:
        """Serve the application, in every slot."""
        return worker_main

    def on_signal(self, number: signal.Signals) -> None:
        """Take an operator's wish."""
        match number:
            case signal.SIGTERM | signal.SIGINT:
                logger.info("received %s", number.name)
                self._loop.feed(e.StopAsked(quick=False))
            case signal.SIGQUIT:
                self._loop.feed(e.StopAsked(quick=True))
            case signal.SIGHUP if self._terminal.is_gone():
                self._on_closed_terminal()
            case signal.SIGHUP:
                self._renewal.reload_or_say_why()
            case signal.SIGTTIN:
                self._loop.feed(e.ScaleAsked(+1))
            case signal.SIGTTOU:
                self._loop.feed(e.ScaleAsked(-1))
            case _:
                logger.debug("%s means nothing here", number.name)

    def on_mail(self, handle: WorkerHandle, mail: m.Mail) -> None:
        """Announce a message, refuse a request: nothing of the application runs here."""
        if mail.kind == MailKind.SEND.value:
            size = len(orjson.dumps(mail.body))
            shown: dict[str, Any] = {"body": mail.body}
            if size > _SHOWN:
                shown = {"text": f"a message of {size} bytes"}
            self._loop.herald.announce(EventKind.MESSAGE, handle, **shown)
        elif mail.kind == MailKind.REQUEST.value:
            why = "nothing of the application runs in the primary: ask a slot, or the leader"
            self._loop.tell(handle.id, m.Mail(MailKind.FAILURE.value, mail.number, "", why))

    def on_all_ready(self, generation: int) -> None:
        """Keep the settings with which it is ready."""
        self._configuration.confirm()
        self._on_ready(generation)

    def on_aborted(self, generation: int) -> None:
        """Return to the settings of the generation that stays."""
        self._renewal.revert()

    def after_event(self) -> None:
        """Tell whoever waits for something."""
        self._attendants.look()

    def after_wait(self) -> None:
        """See whether the terminal is still there."""
        if self._terminal.was_closed(time.monotonic()):
            self._on_closed_terminal()

    def is_over(self) -> bool:
        """Go on until a stop."""
        return False

    def next_timer(self) -> float | None:
        """Return when something is due that no descriptor announces."""
        times = (self._attendants.next_timer(), self._terminal.next_look())
        return min((at for at in times if at is not None), default=None)

    def sockets(self) -> list[socket.socket]:
        """Return those beside the loop."""
        return self._attendants.sockets()

    def close(self) -> None:
        """Close what stands beside the loop."""
        self._attendants.close()

    def _on_closed_terminal(self) -> None:
        logger.info("the terminal was closed")
        self._loop.feed(e.StopAsked(quick=False))
