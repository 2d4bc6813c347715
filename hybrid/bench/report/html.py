"""The results as one page that needs no network: verdict first, evidence below."""

from __future__ import annotations

from html import escape
from statistics import median
from typing import Any

from hybrid.bench.load.records import BIN
from hybrid.bench.matrix.cells import CURVE, Cell
from hybrid.bench.matrix.run import AGAIN, Results
from hybrid.bench.matrix.scenarios import IO_WAIT
from hybrid.bench.report.front_page import heat_map
from hybrid.bench.report.svg import (
    COLOURS,
    Axis,
    Line,
    box,
    chart,
    document,
    linear_axis,
    log_axis,
    shade,
    text,
)
from hybrid.bench.report.text import details
from hybrid.bench.server.fingerprint import one_line
from hybrid.bench.verdict.limit_sentences import limit_sentences
from hybrid.bench.verdict.predict import io_wait
from hybrid.bench.verdict.sentences import headline, sentence
from hybrid.bench.verdict.verdict import MatrixRow, rows, titles

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}
h1{font-size:1.5rem} h2{font-size:1.15rem;margin-top:2.2rem} .verdict{font-size:1.1rem;
border-left:4px solid #3ca951;padding:.4rem .8rem;background:#f4faf5} .note{color:#666}
svg{max-width:100%;height:auto} figure{margin:0 0 1rem;display:inline-block} li{margin:.2rem 0}
table{border-collapse:collapse} td,th{padding:.15rem .7rem;text-align:right;font-weight:normal}
td:first-child,th:first-child{text-align:left} tr+tr td{border-top:1px solid #8884}
@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#16181c}
.verdict{background:#1d2b20} .note{color:#a8a8a8}}
"""
THEORY_TOP = 1_000.0  # ms; above it every curve of theory goes straight up
_NINES = ((1.0, "0"), (10.0, "90 %"), (100.0, "99 %"), (1000.0, "99.9 %"))


def page(results: Results) -> str:
    """Return the whole report as HTML; every picture is inline."""
    found = rows(results)
    named = titles(results)
    state = "" if len(results.cells) == results.profile.cells else " (interrupted: partial results)"
    parts = [
        "<h1>The decision matrix, measured" + state + "</h1>",
        f'<p class="verdict">{escape(headline(results))}</p>',
        f'<p class="note">{escape(one_line(results.machine))}</p>',
        _figure(heat_map(results)),
        _list([sentence(row, named) for row in found]),
        _list(limit_sentences(results)),
        details(results),
        _percentiles(results),
        _hockey_sticks(results),
        _activities(results),
        _timelines(results),
        _excluded(found),
        _method(results),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>hybrid bench</title><style>{_STYLE}</style>\n<body>\n{body}\n</body></html>\n"
    )


def _percentiles(results: Results) -> str:
    parts = []
    for key in results.profile.scenarios:
        lines = []
        for topology, colour in zip(results.profile.topologies, COLOURS, strict=False):
            for name, dashed in (("curve", False), ("closed_curve", True)):
                cells = _cells(results, key, topology.key, name)
                points = _curve([cell.detail[name] for cell in cells])
                lines.append(Line("" if dashed else topology.title, points, colour, dashed))
        if any(line.points for line in lines):
            x = Axis("percentile", 1.0, 1000.0, log=True, ticks=_NINES)
            values = [y for line in lines for _, y in line.points]
            picture = chart(x, log_axis("I/O latency, ms", values), lines)
            parts.append(_captioned(picture, key))
    if not parts:
        return ""
    note = (
        "Latency of the I/O requests. Solid: an open loop at the fixed load, from the intended "
        "start. Dashed: the same mix as a closed loop of a few clients reports it, uncorrected; "
        "what it misses is coordinated omission."
    )
    return f'<h2>Percentiles</h2><p class="note">{note}</p>' + "".join(parts)


def _curve(blocks: list[list[float | None]]) -> list[tuple[float, float]]:
    """Return the median over blocks of every quantile (never their average)."""
    points = []
    for index, q in enumerate(CURVE):
        known = [v for block in blocks if (v := block[index]) is not None]
        if known and len(known) == len(blocks):
            points.append((1.0 / (1.0 - q), median(known)))
    return points


def _hockey_sticks(results: Results) -> str:
    parts = []
    for key in results.profile.scenarios:
        lines = []
        for topology, colour in zip(results.profile.topologies, COLOURS, strict=False):
            cells = _cells(results, key, topology.key, "probes")
            probes = sorted(
                (p["rate"], p["mean"]) for c in cells for p in c.detail["probes"] if p["mean"]
            )
            lines.append(Line(topology.title, probes, colour))
        if any(line.points for line in lines):
            lines += _theory(results, key, max(x for line in lines for x, _ in line.points))
            rates = [x for line in lines for x, _ in line.points]
            values = [y for line in lines for _, y in line.points]
            picture = chart(
                linear_axis("offered rate, /s", rates), log_axis("I/O mean, ms", values), lines
            )
            parts.append(_captioned(picture, key))
    if not parts:
        return ""
    note = (
        "Mean latency of the I/O requests at every rate that was tried (of jobs, where there are "
        "any). Dashed: what theory (M/G/1) predicts where jobs run inline."
    )
    return f'<h2>Latency against offered rate</h2><p class="note">{note}</p>' + "".join(parts)


def _theory(results: Results, key: str, top: float) -> list[Line]:
    service = results.service.get(key)
    if not service or key == "mixed":
        return []
    lines = []
    for topology, colour in zip(results.profile.topologies, COLOURS, strict=False):
        if not topology.cpu_pool:
            highest = min(0.98 * topology.io_workers / service, top)
            rates = [k * highest / 60 for k in range(1, 61)]
            waits = (io_wait(topology, service, rate * service) for rate in rates)
            points = [(r, 1e3 * (IO_WAIT + w)) for r, w in zip(rates, waits, strict=True)]
            points = [point for point in points if point[1] <= THEORY_TOP]
            lines.append(Line(f"theory, {topology.key}", points, colour, dashed=True))
    return lines


def _activities(results: Results) -> str:
    for key in ("mixed", "cpu-gil", "cpu"):
        cells = {t: _cells(results, key, t.key, "activity") for t in results.profile.topologies}
        pictures = [
            _captioned(_timeline(found[0].detail["activity"]), topology.title)
            for topology, found in cells.items()
            if found
        ]
        if pictures:
            note = (
                f"Row {key} at the fixed load: answers per 0.1 s of each worker. Gaps are a loop "
                "that runs a job; a pale row is a worker that got few of the connections."
            )
            return f'<h2>Which worker answered when</h2><p class="note">{note}</p>' + "".join(
                pictures
            )
    return ""


def _timelines(results: Results) -> str:
    parts = []
    for topology in results.profile.topologies:
        cells = _cells(results, "restart", topology.key, "timeline")
        if cells:
            detail = cells[0].detail
            picture = _timeline(detail["timeline"], float(detail["killed_at"]))
            parts.append(_captioned(picture, topology.title))
    if not parts:
        return ""
    note = "Answers per 0.1 s of each worker (slot); the line is the SIGKILL of one of them."
    return f'<h2>A worker is killed</h2><p class="note">{note}</p>' + "".join(parts)


def _timeline(rows_: dict[str, list[int]], killed_at: float | None = None) -> str:
    left, cell, bar = 64, 11, 20
    bins = max(len(each) for each in rows_.values())
    top = max((max(each) for name, each in rows_.items() if name != "failed"), default=1) or 1
    parts = []
    for number, (name, counts) in enumerate(rows_.items()):
        y = 6 + number * bar
        label = name if name == "failed" else f"worker {name}"
        parts.append(text(left - 6, y + 13, label, anchor="end"))
        for index, count in enumerate(counts):
            fill = "#ff725c" if name == "failed" else shade(count / top)
            if count:  # nothing is drawn where nothing was answered
                parts.append(box(left + index * cell, y, cell - 1, bar - 3, fill))
    height = 10 + len(rows_) * bar
    if killed_at is not None:
        x = left + killed_at / BIN * cell
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height - 4}"'
        parts.append(f'<line {ends} class="edge" stroke-width="2"/>')
    return document(left + max(bins * cell, 160) + 10, height, parts)


def _cells(results: Results, scenario: str, topology: str, detail: str) -> list[Cell]:
    return [
        cell
        for cell in results.cells
        if (cell.scenario, cell.topology) == (scenario, topology) and cell.detail.get(detail)
    ]


def _excluded(found: list[MatrixRow]) -> str:
    items = [reason for row in found for reason in row.excluded]
    return "<h2>Excluded blocks</h2>" + _list(items) if items else ""


def _list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(each)}</li>" for each in items) + "</ul>" if items else ""


def _method(results: Results) -> str:
    machine: dict[str, Any] = results.machine
    profile = results.profile
    again = f"{profile.repeated} is in every block twice ({AGAIN})" if profile.repeated else "none"
    facts = {
        "method": "open loop, Poisson arrivals, latency from the intended start time",
        "blocks": f"{profile.blocks}, topologies in random order within each",
        "A/A row": again,
        "job alone": ", ".join(f"{k} {1e3 * v:.1f} ms" for k, v in results.service.items()),
        "packages": ", ".join(f"{k} {v}" for k, v in machine["packages"].items()),
        "kernel, governor": f"{machine['kernel']}, {machine['governor']}",
        "load average": machine["load"],
        "commit": machine["commit"],
    }
    items = "".join(f"<li>{escape(k)}: {escape(str(v))}</li>" for k, v in facts.items())
    return f"<h2>Method and machine</h2><ul>{items}</ul>"


def _captioned(picture: str, words: str) -> str:
    return _figure(f"{picture}<figcaption>{escape(words)}</figcaption>")


def _figure(content: str) -> str:
    return f"<figure>{content}</figure>"
