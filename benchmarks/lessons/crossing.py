"""Notebook 4: what crossing a process costs, and from which job on it pays."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks.lessons import common
from benchmarks.lessons.common import ms
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.served import Server, leashed
from hybrid.bench.server.topology import Topology

APP = "benchmarks.lessons.app:app"
SIZES = (8, 65_536, 1_000_000, 8_000_000, 32_000_000)  # bytes there, and as many back
STEPS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)  # of the Python loop; 30 ns each or so
PAYLOADS = (8, 8_000_000)  # bytes that the jobs of pure Python carry
POOL = Topology("1xP", "one process + processes", 1, 2, "process", "none")


@dataclass(frozen=True, slots=True)
class Crossing:
    """One measurement: a payload there and back, or two jobs at once."""

    kind: str  # "thread", "process", "pickle": there and back; "there"; "pair": two jobs at once
    size: int  # bytes
    seconds: float  # of a crossing; of the two jobs on processes
    alone: float = 0.0  # s of one job inline
    threads: float = 0.0  # s of the two jobs on threads


def obtain(wanted: str | None = None) -> tuple[str, list[Crossing]]:
    """Return the machine's line and the rows; see `common.obtain`."""
    return common.obtain("notebook-04", Crossing, _measure, wanted)


def _measure(full: bool) -> list[Crossing]:
    sizes = SIZES if full else (8, 8_000_000)
    steps = STEPS if full else (1_000, 300_000)
    times = 40 if full else 8
    # The default niceness of pool processes would make a busy machine part of the answer.
    with POOL.server(APP, "--cpu-nice", "0") as server:
        found = [
            Crossing(lane, size, median(_ask(server, f"/cross?lane={lane}&bytes={size}", times)))
            for lane in ("thread", "process")
            for size in sizes
        ]
        found += [
            Crossing("there", size, median(_ask(server, f"/cross?back=false&bytes={size}", times)))
            for size in PAYLOADS
        ]
        found += [_pair(server, size, n, times) for size in PAYLOADS for n in steps]
    return found + _pickled(sizes, times)


def _pair(server: Server, size: int, n: int, times: int) -> Crossing:
    few = max(times // 4, 4)
    path = f"/pair?bytes={size}&n={n}"
    # Inline one waits for the other: half the time of both is one job.
    alone = median(_ask(server, f"{path}&lane=inline", few)) / 2.0
    threads = median(_ask(server, f"{path}&lane=thread", few))
    processes = median(_ask(server, f"{path}&lane=process", few))
    return Crossing("pair", size, processes, alone, threads)


def _pickled(sizes: Sequence[int], times: int) -> list[Crossing]:
    command = leashed(
        [sys.executable, "-m", "benchmarks.lessons.stdlib_hop", str(times), *map(str, sizes)]
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    found = zip(sizes, json.loads(done.stdout), strict=True)
    return [Crossing("pickle", size, median(each)) for size, each in found]


def _ask(server: Server, path: str, times: int) -> list[float]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60.0)
    try:
        connection.request("GET", f"{path}&times={times}")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
    return [float(each) for each in json.loads(body)]


def crossings(found: Sequence[Crossing], kind: str) -> dict[int, float]:
    """Return seconds by payload of one way to cross."""
    return {each.size: each.seconds for each in found if each.kind == kind}


def pairs(found: Sequence[Crossing], size: int) -> list[Crossing]:
    """Return the measurements of two jobs at once that carry `size` bytes."""
    mine = [each for each in found if each.kind == "pair" and each.size == size]
    return sorted(mine, key=lambda each: each.alone)


def predicted(pair: Crossing, crossing: float) -> float:
    """Return what two jobs at once should take on processes: one job, and the way there."""
    return pair.alone + crossing


def break_even(found: Sequence[Crossing], size: int) -> float | None:
    """Return the shortest job, in seconds, that two processes finish before two threads."""
    won = [each.alone for each in pairs(found, size) if each.seconds < each.threads]
    return min(won) if won else None


def figure(found: Sequence[Crossing]) -> Figure:
    """Plot the crossing against its size, and the break-even of two jobs at once."""
    picture, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for kind, colour, name in (
        ("pickle", COLOURS[2], "pickle through a pipe"),
        ("process", COLOURS[0], "shared memory"),
        ("thread", COLOURS[4], "a thread"),
    ):
        points = sorted(crossings(found, kind).items())
        left.plot(*zip(*points, strict=True), "o-", color=colour, label=name, ms=4)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("bytes there, and as many back")
    left.set_ylabel("seconds")
    left.legend(fontsize="small")
    for size, colour in zip(PAYLOADS, COLOURS, strict=False):
        mine = pairs(found, size)
        jobs = [each.alone for each in mine]
        cross = crossings(found, "there")[size]
        label = f"{size:,} bytes"
        right.plot(jobs, [e.seconds / e.threads for e in mine], "o", color=colour, label=label)
        theory = [predicted(e, cross) / (2.0 * e.alone) for e in mine]
        right.plot(jobs, theory, "--", color=colour, lw=1)
    right.axhline(1.0, color="k", lw=0.8)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("length of a job of pure Python, s")
    right.set_ylabel("two processes / two threads")
    right.legend(fontsize="small", title="dashed: predicted")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    picture.tight_layout()
    return picture


def table(found: Sequence[Crossing]) -> str:
    """Return the crossings as Markdown."""
    ways = {kind: crossings(found, kind) for kind in ("thread", "process", "pickle")}
    head = ("bytes", "a thread, ms", "shared memory, ms", "pickle, ms", "pickle / shared memory")
    return common.table(
        head,
        (
            (
                f"{size:,}",
                *(ms(way[size], 3) for way in ways.values()),
                f"{ways['pickle'][size] / ways['process'][size]:.1f} ×",
            )
            for size in ways["process"]
        ),
    )


def prediction_table(found: Sequence[Crossing]) -> str:
    """Return two jobs at once, predicted and measured, as Markdown."""
    head = (
        "bytes", "one job, ms", "on threads: predicted", "measured", "on processes: predicted",
        "measured",
    )  # fmt: skip
    cross = crossings(found, "there")
    return common.table(
        head,
        (
            (
                f"{size:,}",
                ms(each.alone, 2),
                ms(2.0 * each.alone, 2),
                ms(each.threads, 2),
                ms(predicted(each, cross[size]), 2),
                ms(each.seconds, 2),
            )
            for size in PAYLOADS
            for each in pairs(found, size)
        ),
    )


def verdict(found: Sequence[Crossing]) -> str:
    """Say from which job on it pays to cross."""
    said = []
    for size in PAYLOADS:
        least, cross = break_even(found, size), crossings(found, "there")[size]
        pays = "never paid here" if least is None else f"paid from {1e3 * least:.2f} ms on"
        said.append(
            f"- With {size:,} bytes going there takes {1e3 * cross:.2f} ms, so a job should pay "
            f"from about that length on; of those measured it {pays}."
        )
    return "\n".join(said)


def orderings(found: Sequence[Crossing]) -> dict[str, bool]:
    """Return what must hold on any machine with two CPUs."""
    process, pickle = crossings(found, "process"), crossings(found, "pickle")
    large = max(process)
    small = [pairs(found, size)[0] for size in PAYLOADS]
    long = [pairs(found, size)[-1] for size in PAYLOADS]
    return {
        "a large array crosses faster in shared memory than through pickle": (
            process[large] < pickle[large]
        ),
        "a large array costs more than a small one": process[large] > process[min(process)],
        "the longest jobs gain more from processes than the shortest": all(
            b.seconds / b.threads < a.seconds / a.threads for a, b in zip(small, long, strict=True)
        ),
    }
