"""Notebook 7: what many processes weigh: fork, copy on write, PSS against RSS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks.lessons import common
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.procfs import memory, private_bytes, session_members
from hybrid.bench.server.served import leashed
from hybrid.bench.server.topology import Topology

WORKERS = (1, 2, 4, 8)
MEGABYTES = 64  # of the array, and of the list
PREDICTED = {  # share of it that becomes private to a child
    "nothing": 0.0,
    "read the array": 0.0,  # an array's numbers have no reference counts
    "read the list": 1.0,  # reading a Python object writes its count
    "write the array": 1.0,
}


@dataclass(frozen=True, slots=True)
class Weight:
    """A server of idle workers; bytes over all its processes."""

    workers: int
    rss: int  # resident, shared pages counted once per process
    pss: int  # shared pages divided among their sharers
    private: int


@dataclass(frozen=True, slots=True)
class Copied:
    """What a forked child copied by one use of its parent's data."""

    use: str
    size: int  # bytes of the data
    private: int  # bytes that became its own


def obtain(wanted: str | None = None) -> tuple[str, list[Weight], list[Copied]]:
    """Return the machine's line, the weights and the copies; see `common.obtain`."""
    line, weights = common.obtain("notebook-07-workers", Weight, _weights, wanted)
    _, copied = common.obtain("notebook-07-fork", Copied, _copied, wanted)
    return line, weights, copied


def _weights(full: bool) -> list[Weight]:
    found = []
    for workers in WORKERS if full else WORKERS[1:3]:
        with Topology("Nx0", "cluster", workers, 0).server() as server:
            found.append(_weigh(workers, session_members(server.pid)))
    return found


def _weigh(workers: int, members: Sequence[int]) -> Weight:
    each = [memory(pid) for pid in members]
    rss, pss = (sum(found.get(name, 0) for found in each) for name in ("Rss", "Pss"))
    return Weight(workers, rss, pss, sum(map(private_bytes, members)))


def _copied(full: bool) -> list[Copied]:
    megabytes = MEGABYTES if full else 16
    command = leashed([sys.executable, "-m", "benchmarks.lessons.cow", str(megabytes)])
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    size = megabytes * 1_000_000
    return [Copied(use, size, private) for use, private in json.loads(done.stdout).items()]


def predicted(found: Sequence[Weight]) -> dict[int, float]:
    """Return Σ PSS by workers, as a straight line through the first and the second size.

    Shared pages are paid for once, however many processes share them; each worker adds what it
    alone has. If that is all there is, the rest lies on the line.
    """
    first, second = found[0], found[1]
    each = (second.pss - first.pss) / (second.workers - first.workers)
    return {w.workers: first.pss + each * (w.workers - first.workers) for w in found}


def figure(found: Sequence[Weight], copied: Sequence[Copied]) -> Figure:
    """Plot RSS and PSS against workers, and what a child copies."""
    picture, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    sizes = [each.workers for each in found]
    left.plot(sizes, [each.rss / 1e6 for each in found], "o-", color=COLOURS[2], label="Σ RSS")
    left.plot(sizes, [each.pss / 1e6 for each in found], "o", color=COLOURS[0], label="Σ PSS")
    line = predicted(found)
    left.plot(sizes, [line[each] / 1e6 for each in sizes], "--", color=COLOURS[0], label="line")
    left.set_xlabel("I/O workers")
    left.set_ylabel("MB")
    left.set_ylim(bottom=0)
    left.legend(fontsize="small")
    names = [each.use for each in copied]
    right.barh(names, [each.private / each.size for each in copied], color=COLOURS[4])
    right.plot([PREDICTED[each] for each in names], names, "k|", ms=18, label="predicted")
    right.set_xlabel("share of the data that the child copied")
    right.legend(fontsize="small")
    right.invert_yaxis()
    picture.tight_layout()
    return picture


def weight_table(found: Sequence[Weight]) -> str:
    """Return the weights as Markdown."""
    line = predicted(found)
    return common.table(
        ("workers", "Σ RSS, MB", "Σ PSS, MB", "on the line, MB", "Σ private, MB"),
        (
            (
                w.workers,
                f"{w.rss / 1e6:.0f}",
                f"{w.pss / 1e6:.0f}",
                f"{line[w.workers] / 1e6:.0f}",
                f"{w.private / 1e6:.0f}",
            )
            for w in found
        ),
    )


def copy_table(found: Sequence[Copied]) -> str:
    """Return what children copied as Markdown."""
    return common.table(
        ("the child ...", "predicted, MB", "copied, MB"),
        (
            (c.use, f"{PREDICTED[c.use] * c.size / 1e6:.0f}", f"{c.private / 1e6:.1f}")
            for c in found
        ),
    )


def orderings(found: Sequence[Weight], copied: Sequence[Copied]) -> dict[str, bool]:
    """Return what must hold on any Linux."""
    last = found[-1]
    share = {each.use: each.private / each.size for each in copied}
    return {
        "RSS counts shared pages again and again: Σ RSS > 1.5 × Σ PSS": last.rss > 1.5 * last.pss,
        "Σ private ≤ Σ PSS ≤ Σ RSS": all(w.private <= 1.01 * w.pss <= 1.02 * w.rss for w in found),
        "reading an array copies nothing": share["read the array"] < 0.1,
        "reading a list of Python objects copies most of it": share["read the list"] > 0.5,
        "writing an array copies all of it": 0.9 < share["write the array"] < 1.2,
    }
