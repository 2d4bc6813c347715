"""The restart row: kill workers under load and watch the service come back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from typing import Any

import numpy as np

from hybrid.bench.load.generator import LoadResult
from hybrid.bench.load.plan import Stream
from hybrid.bench.load.records import timeline
from hybrid.bench.matrix.cells import Bench, Cell
from hybrid.bench.matrix.gates import crowded, neighbours, problems
from hybrid.bench.matrix.scenarios import IO_OBJECTIVE, IO_RATE, WAIT
from hybrid.bench.server.procfs import busy_seconds, session_members
from hybrid.core.workers.restart import YOUNG

CONNECTIONS = 32  # all of them used before the kill: what ends on a reused one may be sent again
KILL_AT = 0.25  # of the run
_POLL = 0.02  # s between looks at the status
_NEVER = 30.0  # s


def measure_restart(bench: Bench, block: int, topology: str) -> Cell:
    """SIGKILL every worker in turn, each under a load of its own; count requests that noticed.

    A worker has whatever connections the kernel gave it: killing each of them
    leaves that luck out of the mean. None is killed twice, and none young: the
    primary replaces a worker that dies in its first seconds after a pause.
    """
    cell = Cell(block, "restart", topology)
    time.sleep(max(bench.server.ready_at + YOUNG + 0.2 - time.monotonic(), 0.0))
    victims = workers_of(bench)
    noticed: list[int] = []
    recoveries: list[float] = []
    failed = 0
    for victim in victims[: bench.effort.kills]:
        before, busy = bench.server.usage().cpu, busy_seconds()
        result, killed, recovery = _kill(bench, victim, len(victims))
        used = bench.server.usage().cpu - before
        others = neighbours(busy_seconds() - busy, used, result.summary)
        noticed.append(count_noticed(result))
        failed += int(result.summary["all"]["failed"])
        cell.problems.extend(problems(result.summary, failures_allowed=True) + crowded(others))
        if recovery is None:
            cell.problems.append(f"not all workers were ready again within {_NEVER:g} s")
            break
        recoveries.append(recovery)
        if "timeline" not in cell.detail:
            cell.detail["timeline"] = timeline(result.records, bench.effort.restart)
            cell.detail["killed_at"] = round(killed - result.summary["started"], 3)
    cell.values["noticed"] = float(np.mean(noticed))
    cell.values["failed"] = float(failed)
    if recoveries:
        cell.values["recovery"] = float(np.mean(recoveries))
    return cell


def count_noticed(result: LoadResult) -> int:
    """Return how many requests were cut off, failed, or later than the I/O objective."""
    rows = result.records
    late = rows.latency() > IO_OBJECTIVE.limit
    return int(np.count_nonzero(late | (rows["attempts"] > 1)))


def _kill(bench: Bench, victim: int, whole: int) -> tuple[LoadResult, float, float | None]:
    """Return the load around a kill, when it was, and seconds back to full capacity."""
    duration = bench.effort.restart
    plan = bench.plan(Stream("io", WAIT, IO_RATE), duration=duration, connections=CONNECTIONS)
    bench.generator.start(plan)
    time.sleep(KILL_AT * duration)  # the load runs; the wait is the measurement
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    recovery = await_whole(bench, victim, whole, killed)
    return bench.generator.finish(), killed, recovery


def status(host: str, port: int, timeout: float = 0.5) -> dict[str, Any] | None:
    """Return the server's own view of its workers; None while it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/status", headers={"Accept": "application/json"})
        found = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None


def ready_pids(found: dict[str, Any] | None) -> list[int]:
    """Return the pids of the workers that a status calls ready."""
    workers = (found or {}).get("workers", [])
    return [int(each["pid"]) for each in workers if each.get("state") == "ready"]


def workers_of(bench: Bench) -> list[int]:
    """Return the pids of the ready workers.

    Raises:
        LookupError: the server names none of its own.
    """
    ready = ready_pids(status(bench.server.host, bench.server.port, timeout=5.0))
    # Whatever the server claims, only a process of its own session is ever killed.
    mine = set(session_members(bench.server.pid)) - {bench.server.pid}
    found = [pid for pid in ready if pid in mine]
    if not found:
        raise LookupError(f"/status names no ready worker of the server (ready: {ready})")
    return found


def await_whole(bench: Bench, victim: int, whole: int, since: float) -> float | None:
    """Return seconds from `since` until `whole` workers are ready again; None: never."""
    while time.monotonic() - since < _NEVER:
        ready = ready_pids(status(bench.server.host, bench.server.port))
        if len(ready) >= whole and victim not in ready:
            return time.monotonic() - since
        time.sleep(_POLL)
    return None
