"""What a worker inherits from the primary, by name."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hybrid.config import Config
from hybrid.pool.arena.worker_resources import WorkerResources
from hybrid.system.memory.permits import PermitTable
from hybrid.system.scoreboard.scoreboard import Scoreboard
from hybrid.system.sockets.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable


class Terminated:
    """The worker's SIGTERM handler: remembers the signal, and calls `on_signal` if that is set.

    It is in force from the fork on, so that a TERM to the whole process group
    while a worker imports its application is not lost and does not kill.
    """

    def __init__(self) -> None:
        self.happened = False
        self.on_signal: Callable[[], object] | None = None

    def __call__(self, number: int, frame: object) -> None:
        """Handle the signal."""
        self.happened = True
        if self.on_signal is not None:
            self.on_signal()


@dataclass(frozen=True)
class WorkerContext:
    """The inheritance. `fork_child` keeps exactly its descriptors open."""

    config: Config
    slot: int  # 1 … n; survives the worker
    generation: int
    row: int  # of the scoreboard, this worker's own
    scoreboard: Scoreboard
    channel: Channel  # to the primary
    listeners: tuple[socket.socket, ...]  # empty: the primary accepts
    handover: socket.socket | None  # the socket on which it then passes connections on
    resources: WorkerResources
    permits: PermitTable | None
    terminated: Terminated
    facts: dict[str, object]  # of the cluster, fixed at its start: address, budget, …

    def accepting_fds(self) -> list[int]:
        """Return the descriptors that connections come from."""
        sockets = [*self.listeners, *([self.handover] if self.handover is not None else [])]
        return [sock.fileno() for sock in sockets]
