"""What the notebooks call: obtain results, show them. The notebooks define nothing.

Needs matplotlib (the extra `notebooks`); nothing else imports this module.
"""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.lessons.common import recording, wanted_profile
from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.matrix.cells import CURVE
from hybrid.bench.matrix.run import Results, profile, run, start
from hybrid.bench.matrix.scenarios import BY_KEY
from hybrid.bench.report.svg import COLOURS
from hybrid.bench.server.fingerprint import one_line
from hybrid.bench.verdict.limit_sentences import limit_sentences
from hybrid.bench.verdict.predict import io_wait, orderings, predictions, typical
from hybrid.bench.verdict.sentences import headline, sentence
from hybrid.bench.verdict.verdict import rows, titles

RECORDED = "matrix"  # the one that the README shows
PROFILES = {"full": "quick", "ci": "notebook-ci"}
JOB_ROWS = ("cpu", "cpu-gil", "mixed")


def obtain(wanted: str | None = None) -> Results:
    """Return results, measured now or recorded earlier.

    Args:
        wanted: "full" (the quick matrix, some minutes), "ci" (a part of it, once and
            briefly), "replay" (recorded); None: see `common.wanted_profile`.
    """
    name = wanted_profile(RECORDED, wanted)
    if name == "replay":
        return Results.from_dict(json.loads(recording(RECORDED).read_text()))
    with LoadGenerator() as generator:
        results = start(profile(PROFILES[name]), generator)
        for _ in run(results, generator):
            pass
    return results


def setting(results: Results) -> str:
    """Return machine, topologies and jobs as Markdown."""
    lines = [f"*{one_line(results.machine)}*", "", "| | topology | command |", "|---|---|---|"]
    lines += [
        f"| `{each.key}` | {each.title} | `hybrid serve {' '.join(each.flags())}` |"
        for each in results.profile.topologies
    ]
    jobs = ", ".join(f"{key}: {1e3 * each:.1f} ms" for key, each in results.service.items())
    return "\n".join([*lines, "", f"One job alone takes — {jobs}."])


def latency_figure(results: Results) -> Figure:
    """Plot the I/O wait while jobs run, per topology: measured bars, theory as a line."""
    measured = [key for key in JOB_ROWS if key in results.profile.scenarios]
    figure, axes = plt.subplots(1, len(measured), figsize=(10, 3.2), sharey=True)
    for axis, scenario in zip(axes, measured, strict=True):
        _latency_bars(axis, results, scenario)
    axes[0].set_ylabel("I/O wait beyond its own, ms (mean)")
    axes[0].set_yscale("log")
    axes[0].set_ylim(bottom=0.05)
    axes[-1].legend(fontsize="small")
    figure.tight_layout()
    return figure


def _latency_bars(axis: Axes, results: Results, scenario: str) -> None:
    keys = [each.key for each in results.profile.topologies]
    measured = [typical(results, scenario, key, "io_mean") or 0.0 for key in keys]
    axis.bar(keys, measured, color=COLOURS[: len(keys)])
    service = results.service.get(scenario)
    if service:
        theory = [1e3 * io_wait(each, service) for each in results.profile.topologies]
        inline = [(i, t) for i, t in enumerate(theory) if t > 0.0]
        axis.plot(*zip(*inline, strict=True), "k_", markersize=26, label="theory, inline")
    axis.set_title(BY_KEY[scenario].title, fontsize="medium")


def percentile_figure(results: Results) -> Figure:
    """Plot I/O percentiles of the open loop, and what a closed loop reports."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    for axis, scenario in zip(axes, ("cpu", "cpu-gil"), strict=True):
        for each, colour in zip(results.profile.topologies, COLOURS, strict=False):
            _percentiles(axis, results, scenario, each.key, each.title, colour)
        axis.set_title(BY_KEY[scenario].title, fontsize="medium")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks([1, 10, 100, 1000], ["0", "90 %", "99 %", "99.9 %"])
        axis.set_xlabel("percentile (dashed: closed loop)")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("I/O latency, ms")
    axes[0].legend(fontsize="small")
    figure.tight_layout()
    return figure


def _percentiles(
    axis: Axes, results: Results, scenario: str, key: str, title: str, colour: str
) -> None:
    for name, style in (("curve", "-"), ("closed_curve", "--")):
        curves = [
            cell.detail[name]
            for cell in results.cells
            if (cell.scenario, cell.topology) == (scenario, key) and name in cell.detail
        ]
        first = curves[0] if curves else []  # one block: percentiles are not averaged
        points = [(1 / (1 - q), v) for q, v in zip(CURVE, first, strict=False) if v is not None]
        if points:
            label = title if style == "-" else None
            axis.plot(*zip(*points, strict=True), style, color=colour, label=label, lw=1.4)


def matrix_table(results: Results) -> str:
    """Return the matrix as Markdown: best (or tied with the best) in bold."""
    columns = results.profile.topologies
    head = " | ".join(each.title for each in columns)
    lines = [f"| scenario | {head} | the article | measured |", "|---" * (len(columns) + 3) + "|"]
    for row in rows(results):
        cells = []
        for each in columns:
            figure = row.figures.get(each.key)
            value = "⚠" if figure is None else str(figure)
            cells.append(f"**{value}**" if each.key in row.best else value)
        unit = f", {row.metric.unit}" if row.metric.unit else ""
        name = f"{row.scenario.title} ({row.metric.title}{unit})"
        shown = " | ".join(cells)
        lines.append(f"| {name} | {shown} | {row.scenario.article} | {row.agreement} |")
    return "\n".join(lines)


def prediction_table(results: Results) -> str:
    """Return prediction against measurement as Markdown."""
    lines = ["| scenario | topology | predicted, ms | measured, ms |", "|---|---|---|---|"]
    for each in predictions(results):
        measured = "–" if each.measured is None else f"{each.measured:.2f}"
        lines.append(f"| {each.scenario} | {each.topology} | {each.predicted:.2f} | {measured} |")
    return "\n".join(lines)


def ordering_table(results: Results) -> str:
    """Return the statements that must hold anywhere, as Markdown."""
    lines = ["| statement | held | figures |", "|---|---|---|"]
    for each in orderings(results):
        figures = " ≤ ".join("–" if x is None else f"{x:.2f}" for x in (each.left, each.right))
        lines.append(f"| {each.statement} | {'yes' if each.holds else '**no**'} | {figures} |")
    return "\n".join(lines)


def verdict(results: Results) -> str:
    """Return the verdicts as Markdown, the whole matrix first."""
    named = titles(results)
    said = [f"- {sentence(row, named)}" for row in rows(results)]
    said += [f"- {line}" for line in limit_sentences(results)]
    excluded = [f"- excluded: {reason}" for row in rows(results) for reason in row.excluded]
    return "\n".join([f"**{headline(results)}**", "", *said, *excluded])
