"""What the primary's loop asks of the program that it runs a cluster for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Protocol

from hybrid.core.messages import link_messages as m
from hybrid.primary.workers.process_table import WorkerHandle
from hybrid.worker.context import WorkerContext


class ClusterOwner(Protocol):
    """The program that a loop runs a cluster for."""

    def begin(self) -> None:
        """Start the services; signals are handled from here on."""

    def run_of(self, slot: int) -> Callable[[WorkerContext], int]:
        """Return the main function of a worker for a slot; its result is the exit code."""

    def on_signal(self, number: signal.Signals) -> None:
        """Handle a signal other than SIGCHLD."""

    def on_mail(self, handle: WorkerHandle, mail: m.Mail) -> None:
        """Handle a message that a worker has sent to the primary."""

    def on_all_ready(self, generation: int) -> None:
        """Act on every wanted worker being ready."""

    def on_aborted(self, generation: int) -> None:
        """Act on a reload being aborted."""

    def after_event(self) -> None:
        """Act on what an event has changed."""

    def after_wait(self) -> None:
        """Do what is due, once a turn of the loop; may pass events to the loop."""

    def is_over(self) -> bool:
        """Return whether the loop ends without a stop."""

    def next_timer(self) -> float | None:
        """Return the monotonic time at which `after_wait` is due, whatever comes."""

    def sockets(self) -> list[socket.socket]:
        """Return its own sockets: a forked child must close them."""

    def close(self) -> None:
        """Close everything."""
