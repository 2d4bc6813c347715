"""Results on a terminal."""

from __future__ import annotations

from html import escape
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid.bench.calibrate import WRK_AGREES, Calibration
from hybrid.bench.matrix.gates import problems
from hybrid.bench.matrix.run import Results
from hybrid.bench.matrix.scenarios import METRICS, Metric
from hybrid.bench.server.fingerprint import one_line
from hybrid.bench.verdict.limit_sentences import limit_sentences
from hybrid.bench.verdict.sentences import headline, sentence
from hybrid.bench.verdict.verdict import MatrixRow, judge, rows, titles

# -- What every cell measured besides the figure that decides its row -------------

SHOWN = ("io_p50", "io_p99", "cpu_ms", "pss_mb", "failed", "recovery")


def detail_rows(results: Results, metric: str) -> list[MatrixRow]:
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


def plain_table(title: str, *columns: str, left: tuple[str, ...] = ()) -> Table:
    """Return a table without a frame; a word that is too long goes on below, nothing is cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title)
    table.title_justify = table.caption_justify = "left"
    for name in columns:
        side: Literal["left", "right"] = "left" if name in left else "right"
        table.add_column(name, justify=side, overflow="fold", header_style="bold")
    return table


def print_matrix(console: Console, results: Results) -> None:
    """Print the matrix, its verdicts, and what was excluded."""
    found = rows(results)
    console.print(_matrix_table(results, found))
    console.print(Text(_legend(results, found), style="dim"))
    for name in SHOWN:
        table = _detail_table(results, name)
        if table is not None:
            console.print(table)
    for row in found:
        console.print(Text(f"• {sentence(row, titles(results))}"))
    for line in limit_sentences(results):
        console.print(Text(f"• {line}"))
    console.print(Text(headline(results), style="bold"))
    _print_excluded(console, found)
    console.print(Text(one_line(results.machine), style="dim"))


def _matrix_table(results: Results, found: list[MatrixRow]) -> Table:
    advice = "the article"
    keys = [topology.key for topology in results.profile.topologies]
    title = "The decision matrix, measured (bold: best, or tied with the best)"
    table = plain_table(title, "scenario", *keys, advice, left=("scenario", advice))
    for row in found:
        table.add_row(_scenario(row), *(_cell(row, key) for key in keys), row.agreement)
    table.caption = "below a figure, its 95 % interval"
    return table


def _legend(results: Results, found: list[MatrixRow]) -> str:
    columns = [f"{each.key}: {each.title}" for each in results.profile.topologies]
    units = {row.scenario.key: row.metric.unit and f", {row.metric.unit}" for row in found}
    lines = [f"{r.scenario.key}: {r.metric.title}{units[r.scenario.key]}" for r in found]
    return "; ".join(columns) + "\n" + "; ".join(lines)


def _scenario(row: MatrixRow) -> Text:
    """Return the first cell of a row: three lines where figures have an interval."""
    name = Text(row.scenario.key)
    repeated = any(figure.spread for figure in row.figures.values())
    return name.append("\n  from\n  to", style="dim") if repeated else name


def _cell(row: MatrixRow, key: str) -> Text:
    figure = row.figures.get(key)
    if figure is None:
        return Text("⚠")
    best = "bold" if key in row.best else ""
    interval = "\n".join(f"\n{figure.spread}".split(" … "))
    return Text(str(figure), style=best).append(interval.rstrip(), style="dim")


def _detail_table(results: Results, metric: str) -> Table | None:
    found = detail_rows(results, metric)
    if not found:
        return None
    keys = [topology.key for topology in results.profile.topologies]
    table = plain_table(f"\n{named(METRICS[metric])}", "scenario", *keys, left=("scenario",))
    for row in found:
        table.add_row(_scenario(row), *(_cell(row, key) for key in keys))
    return table


def _print_excluded(console: Console, found: list[MatrixRow]) -> None:
    for row in found:
        for reason in row.excluded:
            console.print(Text(f"⚠ excluded: {reason}", style="yellow"))


def print_load(console: Console, summary: dict[str, Any]) -> None:
    """Print the summary of one run of the generator."""
    streams = dict(summary["streams"])
    if len(streams) > 1:
        streams["all"] = summary["all"]
    # A figure a line: ten of them next to each other do not fit a terminal.
    title = f"{summary['mode']} loop, {summary['seconds']:.1f} s"
    table = plain_table(title, "", *streams, left=("",))
    each = list(streams.values())
    table.add_row("requests offered/s", *(f"{s['offered_per_s']:.1f}" for s in each))
    table.add_row("answered well/s", *(f"{s['ok_per_s']:.1f}" for s in each))
    table.add_row("failed", *(str(s["failed"]) for s in each))
    table.add_row("retried", *(str(s["retried"]) for s in each))
    for name in ("p50", "p90", "p99", "p99.9"):
        table.add_row(f"latency {name}", *(milliseconds(s["latency_ms"][name]) for s in each))
    uncorrected = (milliseconds(s["uncorrected_ms"]["p99"]) for s in each)
    table.add_row("p99, counted from the send", *uncorrected)
    console.print(table)
    own = summary["generator"]
    console.print(
        f"generator: {own['cpu_share']:.0%} of a core, {own['cpu_us_per_request']:.1f} µs/request, "
        f"send lag p99 {milliseconds(own['send_lag_p99_ms'])}"
    )
    if len(summary["workers"]) > 1:
        console.print(f"workers: {summary['workers']}, fairness {summary['fairness']:.3f}")
    for reason in problems(summary):
        console.print(f"⚠ {reason}", style="yellow")


def print_calibration(console: Console, found: Calibration) -> None:
    """Print what the generator can do."""
    names = ("offered/s", "CPU", "µs/request", "send lag p99", "latency p99", "gates")
    title = "The load generator against a server that does nothing"
    table = plain_table(title, *names, left=("gates",))
    for step in found.steps:
        table.add_row(
            f"{step.rate:,.0f}",
            f"{step.cpu_share:.0%}",
            f"{step.cpu_us:.1f}",
            milliseconds(step.lag_p99_ms),
            milliseconds(step.latency_p99_ms),
            "; ".join(step.problems) or "passed",
        )
    console.print(table)
    console.print(f"ceiling {found.ceiling:,.0f} requests/s at {found.cpu_us:.1f} µs/request")
    console.print(f"honest up to {found.honest_rate:,.0f} requests/s")
    if found.wrk_ratio is None:
        console.print("wrk is not installed: no cross-check")
    else:
        agrees = abs(found.wrk_ratio - 1.0) < WRK_AGREES
        console.print(
            f"closed loop against wrk: {found.wrk_ratio:.3f} of its rate "
            f"({'they agree' if agrees else '⚠ they differ'}; allowed: {WRK_AGREES:.0%})"
        )


def milliseconds(value: float | None) -> str:
    """Return a latency, or a dash where samples do not suffice or it never came."""
    return "–" if value is None else f"{value:.2f} ms"
