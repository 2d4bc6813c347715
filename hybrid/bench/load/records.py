"""What one run leaves behind: a column per fact, a row per request.

Raw columns instead of a histogram: a million requests are 45 MB, quantiles are
exact, and any question can be asked of them later. `done` is NaN, and the
latency infinite, for a request that never got a complete valid answer.
"""

from __future__ import annotations

import math
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid.bench.load.plan import LoadPlan, RunClock
from hybrid.bench.theory.statistics import jain, quantile

Floats = NDArray[np.float64]
BIN = 0.1  # s, of a timeline
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


class LoadOutcome(IntEnum):
    """How a request ended."""

    PENDING = 0  # the run was over first
    OK = 1  # a complete 2xx or 3xx answer
    STATUS = 2  # a complete answer of 4xx or 5xx
    RESET = 3  # the connection ended in the middle of it
    REFUSED = 4  # no connection
    TIMEOUT = 5
    BAD = 6  # not HTTP


COLUMNS: dict[str, Any] = {
    "intended": np.float64,  # s from the start of the run
    "sent": np.float64,  # s
    "done": np.float64,  # s; NaN: never
    "queue": np.float32,  # ms its job waited, from Server-Timing
    "run": np.float32,  # ms its job ran
    "worker": np.int32,  # X-Worker; -1: none
    "size": np.int32,  # bytes of the answer
    "status": np.int16,
    "stream": np.uint8,
    "outcome": np.uint8,
    "held": np.uint8,  # 1: waited for a connection, which is not a lag of the generator
    "attempts": np.uint8,  # 2: retried once on a fresh connection
}


class Records:
    """Preallocated columns; the engine writes through `view`, analysis reads numpy."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self.columns = columns

    @classmethod
    def allocate(cls, count: int) -> Records:
        """Return `count` empty rows."""
        columns = {name: np.zeros(count, dtype=kind) for name, kind in COLUMNS.items()}
        columns["worker"].fill(-1)
        columns["sent"].fill(np.nan)
        columns["done"].fill(np.nan)
        return cls(columns)

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read the columns that `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls({name: stored[name] for name in COLUMNS})

    def save(self, path: Path) -> None:
        """Write the columns as .npz."""
        np.savez(path, allow_pickle=False, **self.columns)

    def view(self, name: str) -> memoryview:
        """Return a writable view: item assignment costs half of numpy's own."""
        return memoryview(self.columns[name])  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.columns["intended"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def where(self, mask: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Records:
        """Return the rows that `mask` selects, or those at its indices."""
        return Records({name: column[mask] for name, column in self.columns.items()})

    def stream(self, index: int) -> Records:
        """Return the rows of one stream."""
        return self.where(self["stream"] == index)

    def after(self, warmup: float) -> Records:
        """Return the rows whose intended time is past the warm-up."""
        return self.where(self["intended"] >= warmup)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which rows got a complete good answer."""
        return np.asarray(self["outcome"] == LoadOutcome.OK)

    def latency(self) -> Floats:
        """Return seconds from the *intended* start; infinite where it failed."""
        return np.where(self.ok, self["done"] - self["intended"], np.inf)

    def uncorrected(self) -> Floats:
        """Return seconds from sending: what a closed-loop tool would have reported."""
        return np.where(self.ok, self["done"] - self["sent"], np.inf)

    def send_lag(self) -> Floats:
        """Return how late the generator itself was, in seconds, where it had a connection."""
        own = (self["held"] == 0) & np.isfinite(self["sent"])
        return np.asarray(self["sent"][own] - self["intended"][own])

    def shares(self) -> dict[int, int]:
        """Return answers per worker."""
        known = self["worker"][self["worker"] >= 0]
        slots, counts = np.unique(known, return_counts=True)
        return dict(zip(slots.tolist(), counts.tolist(), strict=True))


def summarise(records: Records, plan: LoadPlan, clock: RunClock) -> dict[str, Any]:
    """Return the run as JSON: per stream, as a whole, and of the generator itself."""
    kept = records.after(plan.warmup)
    window = max(clock.offered_for - plan.warmup, 1e-9)
    lag = kept.send_lag()
    streams = {
        stream.name: _stream_summary(kept.stream(index), window)
        for index, stream in enumerate(plan.streams)
    }
    shares = kept.shares()
    return {
        "mode": "closed" if plan.concurrency else "open",
        "seconds": round(clock.elapsed, 6),
        "started": clock.started,
        "requests": len(records),
        "answered": int(np.isfinite(records["done"]).sum()),
        "all": _stream_summary(kept, window),
        "streams": streams,
        "workers": {str(slot): count for slot, count in shares.items()},
        "fairness": _plain(jain(list(shares.values()))),
        "generator": {
            "cpu_share": clock.cpu / max(clock.elapsed, 1e-9),
            "cpu_us_per_request": 1e6 * clock.cpu / max(len(records), 1),
            "send_lag_p50_ms": _ms(quantile(lag, 0.5)),
            "send_lag_p99_ms": _ms(quantile(lag, 0.99)),
            "held": int(np.count_nonzero(kept["held"])),
            "sent_in_time": _sent_in_time(records, clock.offered_for),
        },
    }


def _stream_summary(rows: Records, window: float) -> dict[str, Any]:
    latency, uncorrected = rows.latency(), rows.uncorrected()
    outcomes = np.bincount(rows["outcome"], minlength=len(LoadOutcome))
    statuses, counts = np.unique(rows["status"][rows["status"] > 0], return_counts=True)
    return {
        "count": len(rows),
        "offered_per_s": len(rows) / window,
        "ok_per_s": int(outcomes[LoadOutcome.OK]) / window,
        "failed": len(rows) - int(outcomes[LoadOutcome.OK]),
        "retried": int(np.count_nonzero(rows["attempts"] > 1)),
        "outcomes": {
            each.name.lower(): int(outcomes[each]) for each in LoadOutcome if outcomes[each]
        },
        "statuses": {str(s): int(n) for s, n in zip(statuses, counts, strict=True)},
        "latency_ms": {label(q): _ms(quantile(latency, q)) for q in QUANTILES},
        "uncorrected_ms": {label(q): _ms(quantile(uncorrected, q)) for q in QUANTILES},
        "mean_ms": _ms(float(latency.mean())) if len(rows) else None,
    }


def timeline(records: Records, duration: float) -> dict[str, list[int]]:
    """Return answers per 0.1 s of every worker, and of the requests that failed."""
    edges = np.arange(0.0, duration + BIN, BIN)
    rows: dict[str, list[int]] = {}
    good = records.ok
    for slot in sorted(records.shares()):
        mine = good & (records["worker"] == slot)
        rows[str(slot)] = np.histogram(records["done"][mine], edges)[0].tolist()
    rows["failed"] = np.histogram(records["intended"][~good], edges)[0].tolist()
    return rows


def label(q: float) -> str:
    """Return the usual name of a quantile: p50, p99, p99.9."""
    return f"p{100 * q:g}"


def _sent_in_time(records: Records, until: float) -> float:
    due = records["intended"] < until
    if not np.any(due):
        return 1.0
    # NaN compares false: a request that was never sent was not sent in time.
    return float(np.count_nonzero(records["sent"][due] < until + 0.05) / np.count_nonzero(due))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _plain(1e3 * seconds)


def _plain(x: float) -> float | None:
    """Return `x` for JSON, which knows neither infinity nor NaN."""
    return round(x, 4) if math.isfinite(x) else None
