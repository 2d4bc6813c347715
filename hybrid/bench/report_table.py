"""What every cell measured beside the figure that decides its row."""

from __future__ import annotations

from html import escape

from hybrid.bench.matrix import Results
from hybrid.bench.scenarios import METRICS, Metric
from hybrid.bench.verdict import Row, judge

SHOWN = ("io_p50", "io_p99", "cpu_ms", "pss_mb", "failed", "recovery")


def detail_rows(results: Results, metric: str) -> list[Row]:
    """Return the scenarios that a figure was measured in, judged by it."""
    return [
        judge(results, key, metric)
        for key in results.profile.scenarios
        if any(c.scenario == key and metric in c.values for c in results.cells)
    ]


def named(metric: Metric) -> str:
    """Return a figure's name with its unit."""
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def details(results: Results) -> str:
    """Return the figures of every cell as an HTML table."""
    columns = results.profile.topologies
    head = "".join(f"<th>{escape(each.key)}</th>" for each in columns)
    parts = []
    for metric in SHOWN:
        for row in detail_rows(results, metric):
            figures = (row.figures.get(each.key) for each in columns)
            cells = "".join(f"<td>{'–' if f is None else escape(str(f))}</td>" for f in figures)
            name = f"{named(METRICS[metric])} · {row.scenario.key}"
            parts.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    if not parts:
        return ""
    body = f"<tr><th></th>{head}</tr>" + "".join(parts)
    note = "At the fixed load, the same for every topology; geometric mean over the blocks."
    return f'<h2>Every figure</h2><p class="note">{note}</p><table>{body}</table>'
