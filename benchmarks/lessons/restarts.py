"""Notebook 8: how many requests notice a kill, how many a reload; Little's law as the forecast."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks.lessons import common
from hybrid.bench.load.generator import LoadGenerator, LoadResult
from hybrid.bench.load.plan import Stream
from hybrid.bench.load.records import BIN, timeline
from hybrid.bench.matrix.cells import Bench, Effort
from hybrid.bench.matrix.restart_row import await_whole, ready_pids, status, workers_of
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.served import Server
from hybrid.bench.server.topology import Topology

RATE = 400.0  # requests/s
WAIT = 0.050  # s each waits for its pretended upstream
WORKERS = (1, 2, 4)
KILLS = 4  # per number of workers
EVENLY = ("--scheduling", "round-robin")  # each worker has its share of the connections
CONNECTIONS = 64  # all of them used before the event
LATE = 0.1  # s beyond its wait
LONGEST = 20.0  # s a reload may take


@dataclass(frozen=True, slots=True)
class Restart:
    """One event under load."""

    event: str  # "kill" or "reload"
    workers: int
    cut: int  # requests whose connection ended under them
    failed: int  # of them without an answer in the end: no fresh connection could be tried
    late: int  # answered, but later than 100 ms beyond their wait
    requests: int
    recovery: float  # s back to as many ready workers as before; of a reload: all new
    at: float  # s from the start of the load
    answers: dict[str, list[int]]  # per worker and 0.1 s

    @property
    def predicted(self) -> float:
        """Requests that are cut off: Little's law says how many the dead worker had in hand."""
        return RATE * WAIT / self.workers if self.event == "kill" else 0.0


def obtain(wanted: str | None = None) -> tuple[str, list[Restart]]:
    """Return the machine's line and the rows; see `common.obtain`."""
    return common.obtain("notebook-08", Restart, _measure, wanted)


def _measure(full: bool) -> list[Restart]:
    sizes, kills, seconds = (WORKERS, KILLS, 1.5) if full else (WORKERS[1:2], 1, 1.2)
    with LoadGenerator() as generator:
        found = [
            _event("kill", workers, generator, seconds, seed)
            for workers in sizes
            for seed in range(kills)
        ]
        return found + [_event("reload", each, generator, 2.0 * seconds, 1) for each in sizes]


def _event(
    event: str, workers: int, generator: LoadGenerator, seconds: float, seed: int
) -> Restart:
    cluster = Topology("Nx0", "cluster", workers, 0)
    with cluster.server(*EVENLY) as server:
        bench = Bench(server, generator, Effort(), workers, seed)
        before = workers_of(bench)
        victim, whole = before[0], len(before)
        stream = Stream("io", f"/io/wait?ms={1e3 * WAIT:g}", RATE)
        generator.start(bench.plan(stream, duration=seconds, connections=CONNECTIONS))
        time.sleep(0.3 * seconds)  # the load runs; the wait is the measurement
        began = time.monotonic()
        if event == "kill":
            os.kill(victim, signal.SIGKILL)
            recovery = await_whole(bench, victim, whole, began)
        else:
            os.kill(server.pid, signal.SIGHUP)  # the primary
            recovery = _await_new(server, set(before), whole, began)
        result = generator.finish()
    return _row(event, workers, result, recovery, began, seconds)


def _row(
    event: str,
    workers: int,
    result: LoadResult,
    recovery: float | None,
    began: float,
    seconds: float,
) -> Restart:
    rows = result.records
    late = rows.ok & (rows.latency() > WAIT + LATE)
    return Restart(
        event,
        workers,
        int(np.count_nonzero((rows["attempts"] > 1) | ~rows.ok)),
        int(result.summary["all"]["failed"]),
        int(np.count_nonzero(late)),
        len(rows),
        LONGEST if recovery is None else recovery,
        began - result.summary["started"],
        timeline(rows, seconds),
    )


def _await_new(server: Server, before: set[int], whole: int, since: float) -> float | None:
    while time.monotonic() - since < LONGEST:
        ready = set(ready_pids(status(server.host, server.port)))
        if len(ready) >= whole and not ready & before:
            return time.monotonic() - since
        time.sleep(0.02)
    return None


def sizes(found: Sequence[Restart], event: str) -> list[int]:
    """Return the numbers of workers that an event was measured with."""
    return sorted({each.workers for each in found if each.event == event})


def figure(found: Sequence[Restart]) -> Figure:
    """Plot answers per worker around a kill and a reload of the same cluster."""
    picture, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    for axis, event in zip(axes, ("kill", "reload"), strict=True):
        mine = [each for each in found if each.event == event]
        shown = next((each for each in mine if each.workers == 2), mine[0])
        base = np.zeros(max(map(len, shown.answers.values())))
        for (name, counts), colour in zip(shown.answers.items(), COLOURS, strict=False):
            label = "failed" if name == "failed" else f"worker {name}"
            shade = "#222" if name == "failed" else colour
            times = BIN * np.arange(len(counts))
            axis.bar(times, counts, BIN, bottom=base, align="edge", color=shade, label=label)
            base[: len(counts)] += counts
        axis.axvline(shown.at, color="k", lw=1)
        axis.axvline(shown.at + shown.recovery, color="k", lw=1, ls=":")
        axis.set_title(f"{event}, {shown.workers} workers")
        axis.set_xlabel("seconds (line: the event; dotted: whole again)")
        axis.legend(fontsize="small")
    axes[0].set_ylabel("answers per 0.1 s")
    picture.tight_layout()
    return picture


def table(found: Sequence[Restart]) -> str:
    """Return prediction against measurement as Markdown."""
    head = (
        "event", "workers", "times", "cut off each: predicted", "measured", "failed each",
        "late each", "recovery, s (median)",
    )  # fmt: skip
    rows = []
    for event in ("kill", "reload"):
        for workers in sizes(found, event):
            mine = [e for e in found if (e.event, e.workers) == (event, workers)]
            cut, failed, late = (
                f"{np.mean([getattr(each, name) for each in mine]):.1f}"
                for name in ("cut", "failed", "late")
            )
            recovery = float(np.median([each.recovery for each in mine]))
            counts = (len(mine), f"{mine[0].predicted:.1f}", cut, failed, late)
            rows.append((event, workers, *counts, f"{recovery:.2f}"))
    return common.table(head, rows)


def orderings(found: Sequence[Restart]) -> dict[str, bool]:
    """Return what must hold on any machine."""
    kills = [each for each in found if each.event == "kill"]
    reloads = [each for each in found if each.event == "reload"]
    return {
        "a reload loses nothing": all(each.failed == 0 for each in reloads),
        "a kill cuts off no more than all that is in hand at that moment, and a few": all(
            each.cut <= 1.5 * RATE * WAIT + 5 for each in kills
        ),
        "every kill is recovered from": all(each.recovery < LONGEST for each in kills),
        "most requests notice nothing": all(
            each.failed + each.late < 0.5 * each.requests for each in found
        ),
    }
