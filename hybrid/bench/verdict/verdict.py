"""From cells to words: which topology wins a row, by how much, and does the article agree.

Rule: a winner needs an interval that excludes its runner-up *and* a difference
beyond the A/A row's. Everything else is a tie, and a tie is an answer: it says
that the simpler topology will do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from hybrid.bench.matrix.cells import Cell
from hybrid.bench.matrix.run import AGAIN, Results
from hybrid.bench.matrix.scenarios import BY_KEY, METRICS, Metric, Scenario
from hybrid.bench.theory.statistics import detectable, interval, ratio


def number(value: float) -> str:
    """Return three significant digits, written out: 14,000 and 0.0321."""
    return f"{float(f'{value:.3g}'):,g}" if abs(value) < 999_500 else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A cell of the finished matrix: geometric mean over the blocks, and its interval."""

    value: float
    low: float
    high: float
    blocks: int
    censored: bool = False  # the true value is at most this
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        mark = " ⚠" if self.problems else ""
        return f"{'≤ ' if self.censored else ''}{number(self.value)}{mark}"

    @property
    def spread(self) -> str:
        """The 95 % interval; empty where one block has none."""
        return f"{number(self.low)} … {number(self.high)}" if self.blocks > 1 else ""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """The verdict on one scenario."""

    scenario: Scenario
    metric: Metric
    figures: dict[str, Figure]  # by topology
    best: tuple[str, ...]  # the winner, or all that tie with the best
    chance: float  # the factor of the A/A row; 1 without one
    excluded: tuple[str, ...]  # what failed a gate, and why
    agreement: str  # "agrees", "not contradicted", "disagrees" or "undecided"

    @property
    def winner(self) -> str | None:
        """The topology that stands alone, if one does."""
        return self.best[0] if len(self.best) == 1 else None


def judge(results: Results, scenario: str, metric: str | None = None) -> MatrixRow:
    """Return the verdict on a scenario by its own metric, or by another one.

    Cells that failed a gate take no part; a topology without a believable cell
    has no figure.
    """
    row = BY_KEY[scenario]
    by = METRICS[metric or _measured_metric(results, row)]
    series, flaws = _series(results, scenario, by)
    figures = {
        key: _figure(values, by, results.cells, scenario, key, flaws.get(key, ()))
        for key, values in series.items()
        if key != AGAIN
    }
    chance = _chance(series, results.profile.repeated)
    best = _best({k: v for k, v in series.items() if k != AGAIN}, by, chance)
    excluded = tuple(f"{scenario}, {key}: {_first(reasons)}" for key, reasons in flaws.items())
    agreement = _agreement(best, figures, row.recommended)
    return MatrixRow(row, by, figures, best, chance, excluded, agreement)


def _first(reasons: tuple[str, ...]) -> str:
    more = len(reasons) - 1
    return f"{reasons[0]} (and {more} more)" if more else reasons[0]


def rows(results: Results) -> list[MatrixRow]:
    """Return the verdict on every scenario that has been measured."""
    measured = {cell.scenario for cell in results.cells}
    return [judge(results, key) for key in results.profile.scenarios if key in measured]


def titles(results: Results) -> dict[str, str]:
    """Return the long name of each topology."""
    return {each.key: each.title for each in results.profile.topologies}


def _measured_metric(results: Results, row: Scenario) -> str:
    """Return the row's metric, or the one for brief runs where it was not measured."""
    measured = any(row.metric in c.values for c in results.cells if c.scenario == row.key)
    return row.metric if measured else row.brief_metric


def _series(
    results: Results, scenario: str, metric: Metric
) -> tuple[dict[str, dict[int, float]], dict[str, tuple[str, ...]]]:
    """Return value by block by topology, and the reasons for what is missing."""
    series: dict[str, dict[int, float]] = defaultdict(dict)
    flaws: dict[str, tuple[str, ...]] = {}
    columns = {*titles(results), AGAIN}
    for cell in results.cells:
        if cell.scenario != scenario or cell.topology not in columns:
            continue
        if cell.problems:
            flaws[cell.topology] = (*flaws.get(cell.topology, ()), *cell.problems)
        elif metric.key in cell.values:
            series[cell.topology][cell.block] = cell.values[metric.key] + metric.floor
    return dict(series), flaws


def _figure(
    values: dict[int, float],
    metric: Metric,
    cells: list[Cell],
    scenario: str,
    key: str,
    flaws: tuple[str, ...],
) -> Figure:
    mean, low, high = interval(list(values.values()))
    mine = [c for c in cells if c.scenario == scenario and c.topology == key]
    censored = metric.key == "slo_rate" and any(c.detail.get("censored") for c in mine)
    floor = metric.floor
    return Figure(mean - floor, max(low - floor, 0.0), high - floor, len(values), censored, flaws)


def _chance(series: dict[str, dict[int, float]], repeated: str) -> float:
    pair = _paired(series.get(repeated, {}), series.get(AGAIN, {}))
    if len(pair) < 2:
        return 1.0
    return detectable([a for a, _ in pair], [b for _, b in pair])


def _best(series: dict[str, dict[int, float]], metric: Metric, chance: float) -> tuple[str, ...]:
    if not series:
        return ()
    sign = -1.0 if metric.higher_is_better else 1.0
    means = {key: sign * math.log(interval(list(v.values()))[0]) for key, v in series.items()}
    order = sorted(means, key=means.__getitem__)
    first = order[0]
    tied = [key for key in order[1:] if not _separated(series[first], series[key], chance)]
    # A tie from further behind shows how inexact the figures are: all before it tie as well.
    return tuple(order[: order.index(tied[-1]) + 1]) if tied else (first,)


def _separated(a: dict[int, float], b: dict[int, float], chance: float) -> bool:
    pair = _paired(a, b)
    return bool(pair) and ratio([x for x, _ in pair], [y for _, y in pair]).exceeds(chance)


def _paired(a: dict[int, float], b: dict[int, float]) -> list[tuple[float, float]]:
    return [(a[block], b[block]) for block in sorted(a.keys() & b.keys())]


def _agreement(
    best: tuple[str, ...], figures: dict[str, Figure], recommended: tuple[str, ...]
) -> str:
    if not best or not set(recommended) & set(figures):
        return "undecided"
    if set(best) <= set(recommended):
        return "agrees"
    if len(best) == len(figures):
        return "undecided"
    return "not contradicted" if set(best) & set(recommended) else "disagrees"
