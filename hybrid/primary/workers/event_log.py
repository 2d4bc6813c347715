"""Publishing the cluster's events: the one place in the primary that does."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Container
from typing import Any

from hybrid.core.workers.cluster_events import (
    ClusterEvent,
    EventKind,
    EventPublisher,
    Subscriber,
    exit_reason,
)
from hybrid.core.workers.supervision import Supervisor
from hybrid.primary.workers.process_table import WorkerHandle
from hybrid.system.process.out_of_memory import OutOfMemoryKills
from hybrid.system.process.processes import describe_exit
from hybrid.system.scoreboard.scoreboard import Scoreboard

logger = logging.getLogger("hybrid.error")


class EventLog:
    """Publishes events, and counts exits by reason on the scoreboard."""

    def __init__(
        self, supervisor: Supervisor, scoreboard: Scoreboard, hung: Container[int]
    ) -> None:
        """Count the exits of workers in `hung` as hung: the primary killed them for it."""
        self._supervisor, self._scoreboard, self._hung = supervisor, scoreboard, hung
        self.publisher = EventPublisher(_subscriber_raised)
        self._oom_kills = OutOfMemoryKills()

    def publish(self, kind: EventKind, handle: WorkerHandle | None = None, **detail: Any) -> None:
        """Publish an event of a worker, or (without `handle`) of the cluster."""
        slot, generation, pid = (
            (handle.slot, handle.generation, handle.pid)
            if handle is not None
            else (0, self._supervisor.generations.wanted, os.getpid())
        )
        now = time.monotonic()
        self.publisher.publish(ClusterEvent(kind, slot, generation, pid, now, **detail))

    def publish_abort(self, generation: int) -> None:
        """Publish that a reload was aborted, with the last line of the reason."""
        outcome = self._supervisor.generations.outcome
        why = outcome.text.splitlines()[-1] if outcome is not None else ""
        self.publish(EventKind.ABORTED, text=f"generation {generation}: {why}")

    def publish_exit(self, handle: WorkerHandle, status: int) -> None:
        """Publish that a worker was reaped, and count it by reason.

        Args:
            handle: the worker; the supervisor still has its record.
            status: from ``waitpid``.
        """
        result = os.waitstatus_to_exitcode(status)
        code, number = (result, None) if result >= 0 else (None, -result)
        record = self._supervisor.workers[handle.id]
        reason = exit_reason(
            record.asked,
            code,
            may_return=self._supervisor.roster.work.may_return,
            hung=handle.id in self._hung,
            out_of_memory=number == signal.SIGKILL and self._oom_kills.happened(),
        ).value
        self._scoreboard.departed.add(f"exits_{reason}")
        text = describe_exit(status)
        self.publish(EventKind.EXIT, handle, code=code, signal=number, reason=reason, text=text)


def _subscriber_raised(subscriber: Subscriber, ex: Exception) -> None:
    logger.error("a subscriber of events raised: %s: %s", type(ex).__name__, ex)
