"""A worker's figures, put on its row of the scoreboard ten times a second."""

from __future__ import annotations

from hybrid.http.server import HttpServer
from hybrid.pool.pool import Pool
from hybrid.system.scoreboard import Row
from hybrid.system.snapshot import OUTCOMES


def publish(row: Row, server: HttpServer | None, pool: Pool | None) -> None:
    """Store what there is; a worker that still starts has neither. Some 10 µs."""
    if server is not None:
        http = server.statistics()
        row.set("requests", http.requests_total)
        row.set("requests_active", http.requests_active)
        row.set("connections", http.connections)
        row.set("accepted", http.accepted)
        row.set("responses_4xx", http.responses_4xx)
        row.set("responses_5xx", http.responses_5xx)
        row.put_counts("latency", http.latency)
        row.set("latency_total", http.latency_total)
    if pool is not None:
        jobs = pool.statistics()
        row.set("pool_slots", jobs.slots)
        row.set("pool_busy", jobs.busy)
        row.set("pool_queued", jobs.queued)
        row.set("pool_abandoned", jobs.abandoned)
        row.set("pool_abandoned_permits", jobs.abandoned_permits)
        row.set("pool_processes", jobs.processes)
        row.set("queue_wait_total", jobs.queue_wait_total)
        row.set("run_total", jobs.run_total)
        for outcome in OUTCOMES:
            row.set(f"jobs_{outcome}", getattr(jobs, outcome))
