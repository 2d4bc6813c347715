"""What the teaching notebooks show: figures, tables and checks of `lessons`.

Needs matplotlib (the extra `notebooks`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from hybrid.bench.fingerprint import fingerprint, one_line
from hybrid.bench.lessons import Blocked, Threaded, blocked_loop, threaded
from hybrid.bench.study import RECORDED
from hybrid.bench.svg import COLOURS

RATES = {"full": (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0), "ci": (5.0, 20.0)}


def blocked(wanted: str | None = None) -> tuple[str, list[Blocked]]:
    """Return caption and results of the lesson on blocking; see `study.obtain`."""

    def measure(profile: str) -> list[Blocked]:
        return blocked_loop(RATES[profile], 20.0 if profile == "full" else 2.0)

    return _obtain("notebook-02", wanted, measure, Blocked)


def threads(wanted: str | None = None) -> tuple[str, list[Threaded]]:
    """Return caption and results of the lesson on threads; see `study.obtain`."""

    def measure(profile: str) -> list[Threaded]:
        return threaded(5.0 if profile == "full" else 0.5)

    return _obtain("notebook-03", wanted, measure, Threaded)


def blocked_figure(found: Sequence[Blocked]) -> Figure:
    """Plot the wait against the load: formula, simulation, measurement."""
    figure, axis = plt.subplots(figsize=(6.5, 3.6))
    loads = [each.load for each in found]
    axis.plot(loads, [1e3 * each.formula for each in found], "k-", label="Pollaczek-Khinchine")
    replayed = [1e3 * each.replayed for each in found]
    axis.plot(loads, replayed, "--", color=COLOURS[1], label="simulated from the same arrivals")
    axis.plot(loads, [1e3 * each.measured for each in found], "o", label="measured")
    tails = [(each.load, 1e3 * each.p99) for each in found if each.p99 is not None]
    if tails:
        axis.plot(*zip(*tails, strict=True), "x", color=COLOURS[2], label="measured p99")
    axis.set_xlabel("share of the loop that is busy")
    axis.set_ylabel("wait of a light request, ms")
    axis.legend(fontsize="small")
    axis.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def blocked_table(found: Sequence[Blocked]) -> str:
    """Return prediction against measurement as Markdown."""
    lines = [
        "| jobs/s | loop busy | predicted, ms | simulated, ms | measured, ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.jobs:g} | {each.load:.0%} | {1e3 * each.formula:.1f} | "
        f"{1e3 * each.replayed:.1f} | {1e3 * each.measured:.1f} |"
        for each in found
    ]
    return "\n".join(lines)


def threads_figure(found: Sequence[Threaded]) -> Figure:
    """Plot the speed-up of two threads, and what the loop beside them pays."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4))
    names = [each.kernel for each in found]
    left.bar(names, [each.speedup for each in found], color=COLOURS[0])
    left.axhline(1.0, color="k", lw=0.8)
    left.axhline(2.0, color="k", lw=0.8, ls=":")
    left.set_ylabel("two threads over one")
    right.bar(names, [1e3 * each.io_mean for each in found], color=COLOURS[2])
    right.set_ylabel("a light request beside, ms (mean)")
    for axis in (left, right):
        axis.tick_params(axis="x", rotation=35)
    figure.tight_layout()
    return figure


def threads_table(found: Sequence[Threaded]) -> str:
    """Return speed-up, share of the lock, and theory's answer for four threads."""
    lines = [
        "| kernel | alone, ms | two threads | share that holds the lock | four threads, theory |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.kernel} | {1e3 * each.alone:.1f} | {each.speedup:.2f} × | "
        f"{each.held:.0%} | {each.four:.1f} × |"
        for each in found
    ]
    return "\n".join(lines)


def blocked_orderings(found: Sequence[Blocked]) -> dict[str, bool]:
    """Return what must hold on any machine: orderings and rough identities."""
    first, last = found[0], found[-1]
    return {
        "more jobs, more wait for those who have none": last.measured > first.measured,
        "at the highest load the mean wait is a good part of a job": last.measured > 0.001,
        "the wait is within a factor of three of theory's": all(
            each.formula / 3.0 < each.measured < 3.0 * each.formula + 0.003 for each in found
        ),
    }


def threads_orderings(found: Sequence[Threaded]) -> dict[str, bool]:
    """Return what must hold on any machine with an interpreter lock."""
    python = next(each for each in found if each.kernel == "primes")
    numpy = [each for each in found if each.kernel != "primes"]
    return {
        "pure Python gains nothing from a second thread": python.speedup < 1.35,
        "some numpy kernel gains more than pure Python": max(e.speedup for e in numpy)
        > python.speedup,
        "a loop beside pure Python in threads waits longer than beside the best numpy kernel": (
            python.io_mean > min(each.io_mean for each in numpy)
        ),
    }


def checks(held: dict[str, bool]) -> str:
    """Return statements and whether they held, as Markdown."""
    lines = ["| statement | held |", "|---|---|"]
    return "\n".join([*lines, *(f"| {k} | {'yes' if v else '**no**'} |" for k, v in held.items())])


def _obtain(
    name: str, wanted: str | None, measure: Callable[[str], list[Any]], kind: type[Any]
) -> tuple[str, list[Any]]:
    path = RECORDED.with_name(f"{name}.json")
    wanted = wanted or os.environ.get("HYBRID_NB_PROFILE") or ""
    if wanted == "replay" or (not wanted and path.exists()):
        stored = json.loads(path.read_text())
        return one_line(stored["machine"]), [kind(**each) for each in stored["rows"]]
    found, machine = measure(wanted or "ci"), fingerprint()
    if wanted == "full":
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [each.to_dict() for each in found]
        path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    return one_line(machine), found
