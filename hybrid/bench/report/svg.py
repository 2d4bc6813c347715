"""Just enough SVG for a report without a network and without a plotting library.

Every function returns markup; nothing here knows what is being plotted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

Points = Sequence[tuple[float, float]]
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e")
FONT = 'font-family="system-ui,sans-serif" font-size="12"'
# Every picture follows the reader's choice of light or dark, by itself and inside a page.
THEME = (
    ".ink{fill:#222}.dim{fill:#666}.paper{fill:#fff}.rule{stroke:#e4e4e4}.edge{stroke:#1b4fd8}"
    "@media(prefers-color-scheme:dark){.ink{fill:#e8e8e8}.dim{fill:#a8a8a8}.paper{fill:#16181c}"
    ".rule{stroke:#34373d}.edge{stroke:#6f9bff}}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart; without a name it is not in the legend."""

    name: str
    points: Points
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its range, how values lie on it, and its labelled ticks."""

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = field(default=())

    def place(self, value: float) -> float:
        """Return where `value` lies, 0 … 1, kept inside the chart."""
        if self.log:
            value, low, high = (math.log10(max(x, 1e-12)) for x in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0)


def log_axis(title: str, values: Sequence[float]) -> Axis:
    """Return an axis over the decades that hold `values`."""
    positive = [v for v in values if v > 0.0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    ticks = tuple((10.0**k, f"{10.0**k:g}") for k in range(low, high + 1))
    return Axis(title, 10.0**low, 10.0**high, True, ticks)


def linear_axis(title: str, values: Sequence[float]) -> Axis:
    """Return an axis from zero, with about five round ticks."""
    top = max(values, default=1.0) or 1.0
    step = 10.0 ** math.floor(math.log10(top / 5.0))
    step *= next(k for k in (1, 2, 5, 10) if top / (step * k) <= 6.0)
    count = math.ceil(top / step)
    ticks = tuple((k * step, f"{k * step:g}") for k in range(count + 1))
    return Axis(title, 0.0, count * step, False, ticks)


def chart(x: Axis, y: Axis, lines: Sequence[Line], *, width: int = 535, height: int = 270) -> str:
    """Return curves over two axes, with a legend on the right."""
    left, top, right, bottom = 52, 12, 188, 44
    inner_w, inner_h = width - left - right, height - top - bottom

    def px(value: float) -> float:
        return left + x.place(value) * inner_w

    def py(value: float) -> float:
        return top + (1.0 - y.place(value)) * inner_h

    parts = [
        *_grid(x, y, px, py, (left, top, inner_w, inner_h)),
        *_titles(x, y, left, top, inner_h),
    ]
    parts += [_curve(line, px, py) for line in lines]
    named = [line for line in lines if line.name]
    for index, line in enumerate(named):
        parts += _legend(line, left + inner_w + 10, top + 12 + 16 * index)
    return document(width, height, parts)


def document(width: int, height: int, parts: Sequence[str]) -> str:
    """Return a whole picture."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" {FONT}>\n'
        f'<style>{THEME}</style><rect width="100%" height="100%" class="paper"/>\n{body}\n</svg>'
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False, fill: str = "ink"
) -> str:
    """Return a line of text; `fill` is "ink" or "dim" of the theme, or a colour."""
    weight = ' font-weight="bold"' if bold else ""
    colour = f'fill="{fill}"' if fill.startswith("#") else f'class="{fill}"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {colour}{weight}>'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, extra: str = "") -> str:
    """Return a filled rectangle; `extra` are further attributes."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{fill}" {extra}/>'
    )


def shade(share: float) -> str:
    """Return a colour from white (0) to green (1)."""
    share = min(max(share, 0.0), 1.0)
    mixed = (round(255 - share * (255 - each)) for each in (120, 190, 130))
    return "#" + "".join(f"{each:02x}" for each in mixed)


def _curve(line: Line, px: Callable[[float], float], py: Callable[[float], float]) -> str:
    path = " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in line.points)
    return f'<polyline points="{path}" fill="none" {_stroke(line)}/>'


def _legend(line: Line, x: int, y: int) -> list[str]:
    sample = f'<line x1="{x}" x2="{x + 18}" y1="{y - 4}" y2="{y - 4}" {_stroke(line)}/>'
    return [sample, text(x + 24, y, line.name)]


def _stroke(line: Line) -> str:
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    return f'stroke="{line.colour}" stroke-width="1.8"{dash}'


def _grid(
    x: Axis,
    y: Axis,
    px: Callable[[float], float],
    py: Callable[[float], float],
    inner: tuple[int, int, int, int],
) -> list[str]:
    left, top, width, height = inner
    parts = []
    for value, name in x.ticks:
        at = px(value)
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + height}" class="rule"/>'
        )
        parts.append(text(at, top + height + 16, name, anchor="middle"))
    for value, name in y.ticks:
        at = py(value)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}" class="rule"/>'
        )
        parts.append(text(left - 6, at + 4, name, anchor="end"))
    return parts


def _titles(x: Axis, y: Axis, left: int, top: int, height: int) -> list[str]:
    middle = top + height / 2
    return [
        text(left, top + height + 34, x.title, fill="dim"),
        f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle" '
        f'class="dim">{escape(y.title)}</text>',
    ]
