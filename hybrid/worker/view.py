"""The whole cluster as any worker can show it: read off the scoreboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hybrid.core.lifecycle import State
from hybrid.worker.context import WorkerContext

STATES = tuple(State)  # a state's position is its number on the scoreboard
_JOBS = ("ok", "error", "timeout", "cancelled", "shed", "killed", "broken")


class ScoreboardView:
    """A `hybrid.api.view.ClusterView` over the scoreboard."""

    def __init__(self, context: WorkerContext, publish: Callable[[], None]) -> None:
        """Call `publish` before reading, so that the own row is fresh."""
        self._context = context
        self._publish = publish
        self.is_draining = False

    def ready(self) -> bool:
        """Return whether this worker takes new requests."""
        return not self.is_draining

    def topology(self) -> dict[str, Any]:
        """Return what was fixed when the cluster started, and who answers."""
        facts = {k: v for k, v in self._context.facts.items() if k not in ("started_at",)}
        return {**facts, "worker": self._context.slot, "chaos": self._context.config.app.chaos}

    def status(self) -> dict[str, Any]:
        """Return the state of every worker, and the counters of all that ever were."""
        self._publish()
        now = time.monotonic()
        board = self._context.scoreboard
        rows = list(board.workers())
        facts = self._context.facts
        return {
            "address": facts["address"],
            "primary": {
                "pid": facts["pid"],
                "version": facts["version"],
                "uptime_s": round(now - float(str(facts["started_at"])), 3),
                "generation": max((int(row["generation"]) for row in rows), default=0),
            },
            "topology": self.topology(),
            "workers": [_worker(row, now) for row in rows],
            "totals": {
                name: round(value, 6) if isinstance(value, float) else int(value)
                for name, value in board.totals().items()
            },
        }


def _worker(row: dict[str, float], now: float) -> dict[str, Any]:
    return {
        "slot": int(row["slot"]),
        "generation": int(row["generation"]),
        "pid": int(row["pid"]),
        "state": STATES[int(row["state"])].value,
        "age_s": round(now - row["started_at"], 3),
        "tick_age_s": round(now - row["tick_at"], 3) if row["tick_at"] else None,
        "loop_lag_ms": round(row["lag_last"] * 1e3, 3),
        "requests": int(row["requests"]),
        "active": int(row["requests_active"]),
        "connections": int(row["connections"]),
        "pool": {
            "slots": int(row["pool_slots"]),
            "busy": int(row["pool_busy"]),
            "queued": int(row["pool_queued"]),
            "abandoned": int(row["pool_abandoned"]),
            "processes": int(row["pool_processes"]),
            "jobs": {name: int(row[f"jobs_{name}"]) for name in _JOBS},
        },
    }
