"""The cluster as a table, for `hybrid status` and `hybrid top`."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hybrid.core.histogram import quantile, since
from hybrid.system.process.processes import proportional_set_size, resident_set_size

_LATE = 100.0  # ms of loop lag that is worth a colour
_COLOURS = {"ready": "green", "starting": "yellow", "draining": "cyan", "exited": "red"}
_COLUMNS = (
    *("slot", "state", "gen", "pid", "age", "restarts", "conns", "active", "requests", "req/s"),
    *("p50 ms", "p99 ms", "lag ms", "busy", "queued", "RSS MB", "PSS MB", "pool PSS MB"),
)
_FIRST_TO_GO = (  # in this order, until the others fit
    *("requests", "pool PSS MB", "RSS MB", "restarts", "age", "active", "gen", "queued", "PSS MB"),
    *("req/s", "p50 ms", "lag ms", "busy", "conns", "p99 ms"),
)
_WIDEST_STATE = 24  # characters; a longer one, with its reason, goes on below

Status = dict[str, Any]


def plain_console() -> Console:
    """Return where tables go; a file or pipe has no width, so that every column fits."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def add_memory(status: Status) -> Status:
    """Add the memory of every process, read here: it would cost the primary time.

    RSS counts a page that n processes share n times, PSS once. None where the
    process is gone or belongs to another user. About 1 ms a process.
    """
    primary = status["primary"]
    primary["pss_bytes"] = proportional_set_size(primary["pid"])
    for worker in status["workers"]:
        worker["rss_bytes"] = resident_set_size(worker["pid"])
        worker["pss_bytes"] = proportional_set_size(worker["pid"])
        sizes = [proportional_set_size(pid) for pid in worker["pool"].get("pids", ())]
        worker["pool"]["pss_bytes"] = sum(size for size in sizes if size is not None)
    return status


def render(
    status: Status, width: int, before: Status | None = None, seconds: float = 0.0
) -> RenderableType:
    """Return heading and table.

    Args:
        status: with memory.
        width: of the terminal; without room for everything, some columns go.
        before: an earlier one; rates and quantiles are then those of the time
            between, otherwise quantiles are those since each worker's start,
            and there are no rates.
        seconds: between the two.
    """
    earlier = {w["pid"]: w for w in before["workers"]} if before else {}
    rows = [
        dict(zip(_COLUMNS, cells_of(w, earlier.get(w["pid"]), seconds), strict=True))
        for w in status["workers"]
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = _fitting([name for name in _COLUMNS if before or name != "req/s"], rows, width)
    for name in shown:
        if name == "state":
            table.add_column(name, max_width=_WIDEST_STATE, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for worker, row in zip(status["workers"], rows, strict=True):
        late = worker["loop_lag_ms"] >= _LATE
        style = "red" if late else _COLOURS.get(worker["state"], "")
        table.add_row(*(row[name] for name in shown), style=style)
    return Group(Text(heading(status)), table)


def _fitting(names: list[str], rows: list[dict[str, str]], width: int) -> list[str]:
    """Return the columns for which a terminal has room."""
    needed = {name: max(map(len, (name, *(row[name] for row in rows)))) for name in names}
    needed["state"] = min(needed["state"], _WIDEST_STATE)
    shown = list(names)
    for name in _FIRST_TO_GO:
        if sum(needed[each] + 2 for each in shown) - 2 <= width:
            break
        if name in shown:
            shown.remove(name)
    return shown


def heading(status: Status) -> str:
    """Return two lines about the whole cluster."""
    primary, totals = status["primary"], status["totals"]
    sizes = [primary.get("pss_bytes")]
    sizes += [w.get("pss_bytes") for w in status["workers"]]
    sizes += [w["pool"].get("pss_bytes") for w in status["workers"]]
    memory = sum(size for size in sizes if size) / 1e6
    permits = status.get("permits")
    jobs = f"{permits['in_use']} of {permits['limit']} permits in use" if permits else "no limit"
    if permits and permits["abandoned"]:
        jobs += f" ({permits['abandoned']} of them by abandoned jobs)"
    return (
        f"hybrid {primary['version']} (pid {primary['pid']}) on {status['address']}: "
        f"{primary['phase']}, generation {primary['generation']}, "
        f"up {duration(primary['uptime_s'])}\n"
        f"{totals['requests']} requests, {totals['responses_5xx']} of them 5xx; "
        f"{totals['jobs_ok']} jobs, {jobs}; memory {memory:.0f} MB (PSS)"
        f"{_state_line(status)}"
    )


def _state_line(status: Status) -> str:
    """Return a line about the shared state, if anything has used it."""
    calls, failures = (status["totals"].get(f"state_{name}", 0) for name in ("calls", "failures"))
    if not calls:
        return ""
    away = [str(w["slot"]) for w in status["workers"] if w["state_store"]["away"]]
    trouble = f"; away for worker {', '.join(away)}" if away else ""
    return f"\nshared state {status['state_store']}: {calls} calls, {failures} failed{trouble}"


def cells_of(worker: Status, before: Status | None, seconds: float) -> list[str]:
    """Return one worker's cells, in the order of the columns."""
    counts: list[int] = worker.get("latency_counts", [])  # none of one that has just gone
    rate = "-"
    if before is not None and seconds > 0:
        counts = since(counts, before.get("latency_counts") or counts)
        rate = f"{(worker['requests'] - before['requests']) / seconds:.0f}"
    pool = worker["pool"]
    leaving = f" ({worker['leaving']})" if worker.get("leaving") else ""
    return [
        str(worker["slot"]),
        worker["state"] + leaving,
        str(worker["generation"]),
        str(worker["pid"]),
        duration(worker["age_s"]),
        str(worker.get("restarts", "-")),
        str(worker["connections"]),
        str(worker["active"]),
        str(worker["requests"]),
        rate,
        _milliseconds(quantile(counts, 0.5)),
        _milliseconds(quantile(counts, 0.99)),
        f"{worker['loop_lag_ms']:.1f}",
        f"{pool['busy']}/{pool['slots']}{_abandoned(pool['abandoned'])}",
        str(pool["queued"]),
        _megabytes(worker.get("rss_bytes")),
        _megabytes(worker.get("pss_bytes")),
        _megabytes(pool.get("pss_bytes")),
    ]


def _abandoned(jobs: int) -> str:
    return f" ({jobs} abandoned)" if jobs else ""


def duration(seconds: float) -> str:
    """Return ``42s``, ``5m10s``, ``3h07m`` or ``2d04h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f}"
