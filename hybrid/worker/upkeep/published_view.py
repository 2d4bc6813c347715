"""The whole cluster as any worker can show it, read from the scoreboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hybrid.system.scoreboard.exposition import exposition
from hybrid.system.scoreboard.snapshot import cluster
from hybrid.worker.context import WorkerContext


class ScoreboardView:
    """A `hybrid.api.view.ClusterView` over the scoreboard."""

    def __init__(
        self,
        context: WorkerContext,
        publish: Callable[[], None],
        has_store: Callable[[], bool],
    ) -> None:
        """Call `publish` before reading, so that this worker's row is up to date.

        `has_store` returns whether the shared state can be reached, if it is needed.
        """
        self._context = context
        self._publish = publish
        self._has_store = has_store
        self.is_draining = False

    def ready(self) -> bool:
        """Return whether this worker takes new requests."""
        return not self.is_draining and self._has_store()

    def why_not_ready(self) -> str:
        """Return the reason, in words."""
        return "draining" if self.is_draining else "shared state is away"

    def topology(self) -> dict[str, Any]:
        """Return what was fixed at the start of the cluster, and which worker answers."""
        facts = {k: v for k, v in self._context.facts.items() if k != "started_at"}
        return {**facts, "worker": self._context.slot, "chaos": self._context.config.app.chaos}

    def status(self) -> dict[str, Any]:
        """Return the state of every worker, and the counters of all workers since the start."""
        self._publish()
        context = self._context
        return {
            **cluster(context.scoreboard, context.facts, time.monotonic()),
            "topology": self.topology(),
        }

    def metrics(self) -> str:
        """Return the counters of the whole cluster in Prometheus' text format."""
        self._publish()
        return exposition(self._context.scoreboard)
