"""What a worker does when its pool reports that abandoned jobs block it."""

from __future__ import annotations

import time
from collections.abc import Callable

from hybrid.core.messages import link_messages as m
from hybrid.core.workers.lifecycle import Leaving
from hybrid.core.workers.restart import YOUNG
from hybrid.pool.reporting import LoggingObserver


class WorkerObserver(LoggingObserver):
    """Asks the primary for a replacement when abandoned jobs block this worker's pool."""

    def __init__(
        self, send: Callable[[m.Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send, self._clock = send, clock
        self._born = clock()

    def wants_replacement(self, reason: str) -> bool:
        """Ask for a replacement, unless this worker is young; return whether it was asked for.

        Clients that keep sending jobs that never end must not make the primary fork
        as fast as they send.
        """
        if self._clock() - self._born < YOUNG:
            return False
        self._send(m.Leave(Leaving.RECYCLE, reason))
        return True
