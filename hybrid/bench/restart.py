"""The restart row: kill a worker under load and watch the service come back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from typing import Any

import numpy as np

from hybrid.bench.cells import Bench, Cell
from hybrid.bench.gates import problems
from hybrid.bench.plan import Stream
from hybrid.bench.procfs import session_members
from hybrid.bench.records import timeline
from hybrid.bench.scenarios import IO_WAIT

RATE = 200.0  # requests/s
CONNECTIONS = 32  # all of them used before the kill: what ends on a reused one may be sent again
IN_TIME = IO_WAIT + 0.1  # s; later counts as not served
KILL_AT = 0.25  # of the run
_POLL = 0.02  # s between looks at the status
_NEVER = 30.0  # s


def measure_restart(bench: Bench, block: int, topology: str) -> Cell:
    """SIGKILL one worker under load; count who was not served, time the recovery."""
    cell = Cell(block, "restart", topology)
    duration = bench.effort.restart
    stream = Stream("io", f"/io/wait?ms={1e3 * IO_WAIT:g}", RATE)
    plan = bench.plan(stream, duration=duration, connections=CONNECTIONS)
    victim, whole = a_worker(bench)
    bench.generator.start(plan)
    time.sleep(KILL_AT * duration)  # the load runs; the wait is the measurement
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    recovery = await_whole(bench, victim, whole, killed)
    result = bench.generator.finish()
    latency = result.records.latency()
    cell.values["failed"] = float(result.summary["all"]["failed"])
    cell.values["unserved"] = float(np.count_nonzero(latency > IN_TIME))
    if recovery is not None:
        cell.values["recovery"] = recovery
    else:
        cell.problems.append(f"not back to {whole} ready workers within {_NEVER:g} s")
    cell.problems.extend(problems(result.summary, failures_allowed=True))
    cell.detail["timeline"] = timeline(result.records, duration)
    cell.detail["killed_at"] = round(killed - result.summary["started"], 3)
    return cell


def status(host: str, port: int, timeout: float = 0.5) -> dict[str, Any] | None:
    """Return the server's own view of its workers; None while nobody answers."""
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


def a_worker(bench: Bench) -> tuple[int, int]:
    """Return the pid of a worker to kill, and how many are ready."""
    ready = ready_pids(status(bench.server.host, bench.server.port, timeout=5.0))
    # Whatever the server claims, only a process of its own session is ever killed.
    mine = set(session_members(bench.server.pid)) - {bench.server.pid}
    candidates = [pid for pid in ready if pid in mine]
    if not candidates:
        raise LookupError(f"/status names no ready worker of the server (ready: {ready})")
    return candidates[0], len(ready)


def await_whole(bench: Bench, victim: int, whole: int, since: float) -> float | None:
    """Return seconds from `since` until `whole` workers are ready again; None: never."""
    while time.monotonic() - since < _NEVER:
        ready = ready_pids(status(bench.server.host, bench.server.port))
        if len(ready) >= whole and victim not in ready:
            return time.monotonic() - since
        time.sleep(_POLL)
    return None
