"""The answer to `hybrid status`: the scoreboard, and what only the primary knows."""

from __future__ import annotations

import time
from typing import Any

from hybrid.core.supervision import Supervisor
from hybrid.primary.children import ProcessTable
from hybrid.system.permits import PermitTable
from hybrid.system.scoreboard import Scoreboard
from hybrid.system.snapshot import cluster


def cluster_status(
    supervisor: Supervisor,
    processes: ProcessTable,
    scoreboard: Scoreboard,
    permits: PermitTable | None,
    facts: dict[str, object],
) -> dict[str, Any]:
    """Return it as plain data. Some 50 µs per worker, without asking any of them."""
    status = cluster(scoreboard, facts, time.monotonic())
    generations = supervisor.generations
    status["primary"] |= {
        "phase": supervisor.phase.value,
        "generation": generations.wanted,
        "workers_wanted": supervisor.target,
        "workers_most": supervisor.most,
    }
    if permits is not None:
        status["permits"] = {
            "limit": permits.permits,
            "in_use": permits.in_use(),
            "abandoned": sum(w["pool"]["abandoned_permits"] for w in status["workers"]),
        }
    by_pid = {handle.pid: handle for handle in processes.workers.values()}
    for row in status["workers"]:
        handle = by_pid.get(row["pid"])
        if handle is not None and handle.id in supervisor.workers:
            worker = supervisor.workers[handle.id]
            row["latency_counts"] = scoreboard.row(handle.row).counts("latency").tolist()
            row["leaving"] = worker.reason or None
            row["accepting"] = worker.accepting and row["state"] == "ready"
            row["restarts"] = supervisor.slots[worker.slot].restarts
            row["pool"]["pids"] = sorted(handle.members)
    return status
