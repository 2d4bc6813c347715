"""The measured matrix on the first screen of a README: its picture and its verdict."""

from __future__ import annotations

from pathlib import Path

from hybrid.bench.matrix.run import Results
from hybrid.bench.report.svg import box, document, shade, text
from hybrid.bench.verdict.sentences import verdict_table
from hybrid.bench.verdict.verdict import MatrixRow, rows

# -- The measured matrix for the first screen of a README, generated and never typed ---

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"


def front_page(results: Results, stored: Path, picture: Path) -> str:
    """Return verdict, picture and origin as Markdown.

    Args:
        results: what was measured.
        stored: their file, relative to the README.
        picture: the heat map's file, relative to the README.
    """
    machine = results.machine
    count = len(machine["cpus"] or ()) or machine["host_cpus"]
    return (
        f"{verdict_table(results)}\n\n"
        "*Lead*: the worst of the best over the best of the rest. *The article*: the usual advice "
        "for Node's cluster and worker threads ([below](#which-approach-when)). "
        f"Measured on {count} CPUs of {machine['cpu']}, Python {machine['python']}, in "
        f"{results.profile.blocks} blocks, {machine['when'][:10]} ([{stored.name}]({stored})); "
        "`hybrid bench matrix --quick` measures yours.\n\n"
        f"![The decision matrix, measured]({picture})"
    )


def between_markers(text: str, content: str) -> str:
    """Return `text` with what lies between its markers replaced by `content`.

    Raises:
        ValueError: the markers are missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"no markers {BEGIN} … {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


_HEAT_KEY = (
    "colour: how near the row's best · bold: best, or not separated from it · "
    "border: what the article recommends"
)
_DARK = "#222"  # on the cells, which are light in either theme


def heat_map(results: Results) -> str:
    """Return the matrix as a picture: colour is value over the best of its row."""
    found, columns = rows(results), results.profile.topologies
    left, top, cell_w, cell_h, right = 250, 60, 104, 46, 270
    width, height = left + cell_w * len(columns) + right, top + cell_h * len(found) + 26
    parts = []
    for index, topology in enumerate(columns):
        middle = left + (index + 0.5) * cell_w
        parts.append(text(middle, 18, topology.key, anchor="middle", bold=True))
        for line, words in enumerate(_two_lines(topology.title)):
            parts.append(text(middle, 34 + 15 * line, words, anchor="middle", fill="dim"))
    for number, row in enumerate(found):
        y = top + number * cell_h
        parts.append(text(8, y + 20, row.scenario.title))
        unit = f", {row.metric.unit}" if row.metric.unit else ""
        parts.append(text(8, y + 36, f"{row.metric.title}{unit}"[:40], fill="dim"))
        for index, topology in enumerate(columns):
            parts += _heat_cell(row, topology.key, left + index * cell_w, y, cell_w, cell_h)
        x = left + cell_w * len(columns) + 10
        parts.append(text(x, y + 20, f"article: {row.scenario.article}", fill="dim"))
        parts.append(text(x, y + 36, f"measured: {row.agreement}", bold=True))
    parts.append(text(left, height - 8, _HEAT_KEY, fill="dim"))
    return document(width, height, parts)


def _two_lines(title: str) -> list[str]:
    """Break a topology's title before what distinguishes it from its neighbour."""
    for mark in (" + ", ", "):
        first, found, rest = title.partition(mark)
        if found:
            return [first, f"{mark.strip(' ,')} {rest}".strip()]
    return [title]


def _heat_cell(
    row: MatrixRow, key: str, x: float, y: float, width: float, height: float
) -> list[str]:
    figure = row.figures.get(key)
    recommended = 'class="edge" stroke-width="2.5"' if key in row.scenario.recommended else ""
    if figure is None:
        area = box(x + 2, y + 2, width - 4, height - 4, "#eee", recommended)
        return [area, text(x + width / 2, y + 26, "not measured", anchor="middle", fill="#666")]
    best = row.figures[row.best[0]]
    ours, theirs = figure.value + row.metric.floor, best.value + row.metric.floor
    share = ours / theirs if row.metric.higher_is_better else theirs / max(ours, 1e-9)
    parts = [
        box(x + 2, y + 2, width - 4, height - 4, shade(share), recommended),
        text(x + width / 2, y + 20, str(figure), anchor="middle", bold=key in row.best, fill=_DARK),
    ]
    if figure.spread:
        parts.append(text(x + width / 2, y + 36, figure.spread, anchor="middle", fill="#444"))
    return parts
