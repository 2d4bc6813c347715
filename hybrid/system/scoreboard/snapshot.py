"""The scoreboard as plain data: what status, metrics and the live view show.

Rows are up to 0.1 s old and of different moments; a sum over them is not exact.
"""

from __future__ import annotations

from typing import Any

from hybrid.core.histogram import quantile
from hybrid.core.jobs.ticket import Outcome
from hybrid.core.workers.lifecycle import WorkerState
from hybrid.system.scoreboard.scoreboard import Row, Scoreboard

STATES = tuple(WorkerState)  # a state's position is its number on the scoreboard


def cluster(board: Scoreboard, facts: dict[str, object], now: float) -> dict[str, Any]:
    """Return every worker, and the counters of all that ever were.

    Args:
        board: the scoreboard.
        facts: what was fixed when the cluster started.
        now: monotonic seconds.
    """
    workers = [_worker(row, now) for row in board.rows()]
    return {
        "address": facts["address"],
        "state_store": facts["state"],
        "primary": {
            "pid": facts["pid"],
            "version": facts["version"],
            "uptime_s": round(now - float(str(facts["started_at"])), 3),
            "generation": max((worker["generation"] for worker in workers), default=0),
        },
        "workers": workers,
        "totals": {
            name: round(value, 6) if isinstance(value, float) else int(value)
            for name, value in board.totals().items()
        },
    }


def _worker(row: Row, now: float) -> dict[str, Any]:
    """Return a row as status shows it; times in the unit that the name ends with."""
    values = row.read()
    return {
        "slot": int(values["slot"]),
        "generation": int(values["generation"]),
        "pid": int(values["pid"]),
        "state": STATES[int(values["state"])].value,
        "age_s": round(now - values["started_at"], 3),
        "tick_late_s": round(max(0.0, now - values["tick_due"]), 3) if values["tick_due"] else None,
        "loop_lag_ms": round(values["lag_last"] * 1e3, 3),
        "loop_lag_p99_ms": _ms(quantile(row.counts("lag"), 0.99)),
        "loop_lag_max_ms": round(values["lag_max"] * 1e3, 3),
        "requests": int(values["requests"]),
        "active": int(values["requests_active"]),
        "connections": int(values["connections"]),
        "latency_p50_ms": _ms(quantile(row.counts("latency"), 0.5)),
        "latency_p99_ms": _ms(quantile(row.counts("latency"), 0.99)),
        "pool": {
            "slots": int(values["pool_slots"]),
            "busy": int(values["pool_busy"]),
            "queued": int(values["pool_queued"]),
            "abandoned": int(values["pool_abandoned"]),
            "abandoned_permits": int(values["pool_abandoned_permits"]),
            "processes": int(values["pool_processes"]),
            "processes_killed": int(values["pool_processes_killed"]),
            "jobs": {each.value: int(values[f"jobs_{each.value}"]) for each in Outcome},
        },
        "state_store": {
            "calls": int(values["state_calls"]),
            "failures": int(values["state_failures"]),
            "away": bool(values["state_away"]),
        },
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)
