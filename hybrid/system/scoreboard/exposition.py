"""The scoreboard in Prometheus' text format, for the whole cluster in one scrape.

Every worker can answer for all of them, and for those that are gone: counters
never fall when a worker is replaced. There is no pid in any label, because each
replacement would begin new series.
https://prometheus.io/docs/instrumenting/exposition_formats/

The bounds of the histograms are every fourth of `hybrid.core.histogram`, that
is 20 µs × 2ⁿ: what is counted there can be given exactly, other bounds not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate

from hybrid.core.histogram import BOUNDS
from hybrid.core.jobs.ticket import Outcome
from hybrid.core.workers.cluster_events import ExitReason
from hybrid.core.workers.lifecycle import WorkerState
from hybrid.system.process.processes import resident_set_size
from hybrid.system.scoreboard.scoreboard import Scoreboard
from hybrid.system.scoreboard.snapshot import STATES

_STEP = 4  # buckets of ours in one of Prometheus'

Rows = list[dict[str, float]]
Labelled = Iterable[tuple[Mapping[str, str | int], float]]


def exposition(board: Scoreboard) -> str:
    """Return the metrics; some 0.3 ms for eight workers."""
    rows, totals = list(board.workers()), board.totals()
    parts = (_workers(board, rows), _requests(board, rows, totals), _jobs(rows, totals))
    return "".join([*(line for part in parts for line in part), *_state(rows, totals)])


def _workers(board: Scoreboard, rows: Rows) -> Iterable[str]:
    states = Counter(STATES[int(row["state"])] for row in rows)
    yield _metric(
        "hybrid_workers",
        "gauge",
        "I/O workers by state.",
        [
            ({"state": state.value}, states[state])
            for state in STATES
            if state is not WorkerState.EXITED
        ],
    )
    yield _metric(
        "hybrid_worker_exits_total",
        "counter",
        "Workers that are gone, by reason.",
        [
            ({"reason": reason.value}, board.departed.get(f"exits_{reason.value}"))
            for reason in ExitReason
        ],
    )
    sizes: Counter[int] = Counter()
    for row in rows:
        sizes[int(row["slot"])] += resident_set_size(int(row["pid"])) or 0
    yield _metric(
        "hybrid_worker_rss_bytes",
        "gauge",
        "Resident memory of a slot's workers.",
        [({"slot": slot}, size) for slot, size in sizes.items()],
    )
    generation = max((row["generation"] for row in rows), default=0)
    text = "The newest generation of workers."
    yield _metric("hybrid_reload_generation", "gauge", text, [({}, generation)])
    yield _histogram(
        "hybrid_event_loop_lag_seconds",
        "How late the event loop ran, ten times a second in each worker.",
        board.histogram("lag"),
        board.totals()["lag_total"],
    )


def _requests(board: Scoreboard, rows: Rows, totals: Mapping[str, float]) -> Iterable[str]:
    yield _histogram(
        "http_server_request_duration_seconds",
        "From the head of a request to the end of its answer.",
        board.histogram("latency"),
        totals["latency_total"],
    )
    text = "Requests without a complete answer."
    active = sum(row["requests_active"] for row in rows)
    yield _metric("http_server_active_requests", "gauge", text, [({}, active)])
    connections = sum(row["connections"] for row in rows)
    yield _metric("hybrid_connections", "gauge", "Open client connections.", [({}, connections)])
    yield _metric(
        "hybrid_error_responses_total",
        "counter",
        "Answers with an error status.",
        [({"class": name}, totals[f"responses_{name}"]) for name in ("4xx", "5xx")],
    )


def _jobs(rows: Rows, totals: Mapping[str, float]) -> Iterable[str]:
    queued = sum(row["pool_queued"] for row in rows)
    yield _metric("hybrid_cpu_queue_depth", "gauge", "Jobs that wait.", [({}, queued)])
    busy = sum(row["pool_busy"] for row in rows)
    idle = sum(row["pool_slots"] for row in rows) - busy
    poisoned = sum(row["pool_abandoned"] for row in rows)
    yield _metric(
        "hybrid_cpu_slots",
        "gauge",
        "Pool slots by state; poisoned: its job was given up and has not ended.",
        [
            ({"state": "busy"}, busy - poisoned),
            ({"state": "idle"}, idle),
            ({"state": "poisoned"}, poisoned),
        ],
    )
    yield _metric(
        "hybrid_cpu_jobs_total",
        "counter",
        "Jobs by outcome.",
        [({"outcome": each.value}, totals[f"jobs_{each.value}"]) for each in Outcome],
    )
    yield _metric(
        "hybrid_cpu_processes_killed_total",
        "counter",
        "Pool processes killed because of their job, which counts as timeout or cancelled.",
        [({}, totals["pool_processes_killed"])],
    )
    for name, total, text in (
        ("hybrid_cpu_queue_wait_seconds_total", "queue_wait_total", "Time that jobs waited."),
        ("hybrid_cpu_job_duration_seconds_total", "run_total", "Time that jobs ran."),
    ):
        yield _metric(name, "counter", text, [({}, totals[total])])


def _state(rows: Rows, totals: Mapping[str, float]) -> Iterable[str]:
    text = "Calls of the shared state's store."
    yield _metric("hybrid_state_calls_total", "counter", text, [({}, totals["state_calls"])])
    text = "Calls that found the store away, too slow or refusing."
    yield _metric("hybrid_state_failures_total", "counter", text, [({}, totals["state_failures"])])
    text = "Workers whose last call found the store away."
    away = sum(row["state_away"] for row in rows)
    yield _metric("hybrid_state_away", "gauge", text, [({}, away)])


def _metric(name: str, kind: str, text: str, samples: Labelled) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _histogram(name: str, text: str, counts: list[int], total: float) -> str:
    below = list(accumulate(counts))  # below[k]: how many are at most BOUNDS[k]
    lines = [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
    lines += [
        f'{name}_bucket{{le="{BOUNDS[k]:.6g}"}} {below[k]}' for k in range(0, len(BOUNDS), _STEP)
    ]
    lines += [f'{name}_bucket{{le="+Inf"}} {below[-1]}', f"{name}_sum {_number(total)}"]
    return "\n".join([*lines, f"{name}_count {below[-1]}"]) + "\n"


def _labels(labels: Mapping[str, str | int]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"
