"""What every process of the cluster can read about every worker, at no cost to it.

One anonymous shared mapping, made by the primary before it forks, one row per
worker process and one row of totals kept by the primary. A worker writes its
own row and nobody else's; everybody may read all of them. So status, metrics
and scheduling need no message, and a hung or dead worker costs a reader nothing.

Rows belong to processes, not to slot numbers: during a reload a slot has two
workers, and both count requests. A row has one writer at a time: the worker
while it lives, the primary before the fork and after the reaping.

Every field is 8 bytes and aligned, so a single store is never seen half-done
(x86-64, arm64). A row as a whole is not consistent, and does not need to be:
its fields are counters and gauges.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from hybrid.core.histogram import BUCKETS
from hybrid.core.jobs.ticket import Outcome
from hybrid.core.workers.cluster_events import ExitReason

HISTOGRAMS = ("latency", "lag")  # of requests, of the event loop; see hybrid.core.histogram
INTEGERS = (
    "slot",  # 1 … n; 0: the row is free
    "generation",
    "pid",
    "state",  # hybrid.core.workers.lifecycle.WorkerState by position
    "requests",
    "requests_active",
    "connections",
    "accepted",  # connections ever
    "responses_4xx",
    "responses_5xx",
    "wsgi_threads",  # that run the application; 0: it is an ASGI application
    "pool_slots",
    "pool_busy",
    "pool_queued",
    "pool_abandoned",  # of the busy ones
    "pool_abandoned_permits",
    "pool_processes",
    "pool_processes_killed",  # because of their job, which counts below as timeout or cancelled
    *(f"jobs_{outcome.value}" for outcome in Outcome),
    "state_calls",  # of the shared state's store
    "state_failures",  # of them, those that found it away, too slow or refusing
    "state_away",  # 1: the last call found it away
    # Ends of workers; the primary counts them, in `departed` alone.
    *(f"exits_{reason.value}" for reason in ExitReason),
)
FLOATS = (  # seconds; the *_at are monotonic
    "started_at",
    "tick_due",  # when the event loop is meant to run next; 0: the worker still starts
    "lag_last",
    "lag_max",
    "lag_total",
    "latency_total",
    "queue_wait_total",
    "run_total",
    "permit_missed_at",  # when a job last gave up waiting for a permit
)
COUNTERS = frozenset(
    {"requests", "accepted", "responses_4xx", "responses_5xx", "lag_total", "pool_processes_killed"}
    | {"state_calls", "state_failures"}
    | {name for name in INTEGERS if name.startswith(("jobs_", "exits_"))}
    | {"queue_wait_total", "run_total", "latency_total"}
)

Wait = tuple[float, int]  # since when a row waits for a permit, its answers to the bell until now
_NONE: Mapping[int, Wait] = MappingProxyType({})

_WORDS = len(INTEGERS) + len(FLOATS)
_HISTOGRAM_AT = {name: _WORDS + i * BUCKETS for i, name in enumerate(HISTOGRAMS)}
_ROW = 8 * (_WORDS + len(HISTOGRAMS) * BUCKETS)  # bytes
_INTEGER_AT = {name: i for i, name in enumerate(INTEGERS)}
_FLOAT_AT = {name: i + len(INTEGERS) for i, name in enumerate(FLOATS)}


class Row:
    """One row; `set` and `add` cost about 0.1 µs each."""

    def __init__(self, block: memoryview) -> None:
        self._integers = block.cast("q")
        self._floats = block.cast("d")

    def set(self, name: str, value: float) -> None:
        """Store a value; KeyError for a field that does not exist."""
        if name in _INTEGER_AT:
            self._integers[_INTEGER_AT[name]] = int(value)
        else:
            self._floats[_FLOAT_AT[name]] = value

    def add(self, name: str, amount: float = 1) -> None:
        """Add to a value. Only the row's writer may."""
        if name in _INTEGER_AT:
            self._integers[_INTEGER_AT[name]] += int(amount)
        else:
            self._floats[_FLOAT_AT[name]] += amount

    def get(self, name: str) -> float:
        """Return one value: an int for the integer fields, seconds otherwise."""
        if name in _INTEGER_AT:
            return self._integers[_INTEGER_AT[name]]
        return self._floats[_FLOAT_AT[name]]

    def counts(self, name: str) -> memoryview[int]:
        """Return the buckets of a histogram, in place."""
        start = _HISTOGRAM_AT[name]
        return self._integers[start : start + BUCKETS]

    def put_counts(self, name: str, counts: Sequence[int]) -> None:
        """Store a histogram that is counted elsewhere; some 3 µs."""
        self.counts(name)[:] = memoryview(array("q", counts))

    def read(self) -> dict[str, float]:
        """Return every number of the row; histograms apart."""
        return {name: self.get(name) for name in (*INTEGERS, *FLOATS)}

    def clear(self) -> None:
        """Make the row free."""
        self._integers[:] = memoryview(bytes(_ROW)).cast("q")


class Scoreboard:
    """The mapping. Made once, in the primary; children inherit it by fork."""

    def __init__(self, rows: int) -> None:
        self._tail = _ROW * (rows + 1)
        self._map = mmap.mmap(-1, self._tail + 16 * rows)  # MAP_SHARED | MAP_ANONYMOUS
        view = memoryview(self._map)
        self._rows = [Row(view[i * _ROW : (i + 1) * _ROW]) for i in range(rows + 1)]
        self.departed = self._rows.pop()  # counters of workers that are gone
        # How often a row has answered its bell: who rings sees whether it is heard.
        self._answers = view[self._tail : self._tail + 8 * rows].cast("q")
        self._tail += 8 * rows
        # Since when the oldest job of a row waits for a permit (monotonic s; 0: none
        # does). Every job looks at all of them, so they lie side by side.
        self._waiting = view[self._tail :].cast("d")
        self._nobody = bytes(8 * rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        """Return row `index`, counted from 0."""
        return self._rows[index]

    def claim(self, slot: int, generation: int, started_at: float) -> int | None:
        """Take a free row for a worker about to be forked; None when all are taken."""
        for index, row in enumerate(self._rows):
            if not row.get("slot"):
                row.set("generation", generation)
                row.set("started_at", started_at)
                row.set("slot", slot)  # last: from here on readers see the row
                return index
        return None

    def release(self, index: int) -> None:
        """Add a dead worker's counters to `departed` and free its row."""
        row = self._rows[index]
        for name in COUNTERS:
            self.departed.add(name, row.get(name))
        for name in HISTOGRAMS:
            kept = self.departed.counts(name)
            for position, count in enumerate(row.counts(name)):
                kept[position] += count
        row.clear()
        self._waiting[index] = 0.0

    def workers(self) -> Iterator[dict[str, float]]:
        """Yield the rows in use, in order of slot number, older generation first."""
        for row in self.rows():
            yield row.read()

    def totals(self) -> dict[str, float]:
        """Return the counters over all workers, living and dead."""
        sums = {name: self.departed.get(name) for name in sorted(COUNTERS)}
        for values in self.workers():
            for name in sums:
                sums[name] += values[name]
        return sums

    def histogram(self, name: str) -> list[int]:
        """Return a histogram over all workers, living and dead."""
        rows = [self.departed, *(row for row in self._rows if row.get("slot"))]
        return [sum(buckets) for buckets in zip(*(row.counts(name) for row in rows), strict=True)]

    def rows(self) -> Iterator[Row]:
        """Yield the rows in use, in order of slot number, older generation first."""
        used = [row for row in self._rows if row.get("slot")]
        yield from sorted(used, key=lambda row: (row.get("slot"), row.get("generation")))

    def waits_since(self, index: int, since: float) -> None:
        """Note since when the oldest job of row `index` waits for a permit; 0.0: none does."""
        self._waiting[index] = since

    def answers_bell(self, index: int) -> None:
        """Note that row `index` has answered its bell. Only the row's writer may."""
        self._answers[index] += 1

    def wait_of(self, index: int) -> Wait:
        """Return since when row `index` waits, and how often it has answered its bell."""
        return self._waiting[index], self._answers[index]

    def oldest_waiting(self, ignored: Mapping[int, Wait] = _NONE) -> int | None:
        """Return the row whose job has waited longest for a permit, None if none waits.

        Args:
            ignored: rows to pass over, each for as long as its `wait_of` is this one.

        Cost: 0.2 µs if none waits; otherwise some 0.6 µs, and 0.05 µs per row up to the last
        one that waits.
        """
        waiting = self._map[self._tail :]
        if waiting == self._nobody:
            return None
        rows = (len(waiting.rstrip(b"\0")) + 7) // 8  # workers take the first rows; most are free
        oldest, found = 0.0, None
        for index, since in enumerate(self._waiting[:rows]):
            if since > 0 and (found is None or since < oldest):
                if ignored and ignored.get(index) == self.wait_of(index):
                    continue
                oldest, found = since, index
        return found
