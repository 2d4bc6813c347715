"""The highest rate that meets an objective: few probes, each used in full.

A probe gives more than a yes or no: *how far* it was from the objective. The
answer is read off between the two probes around the border, so three probes
reach a few percent where the grid alone would leave a factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hybrid.bench.load.records import Records
from hybrid.bench.matrix.scenarios import Objective
from hybrid.bench.theory.statistics import samples_needed

_CLIMB, _CLIMBS = 1.3, 5  # factor of a step above an estimated top, and steps at most
SPAN = 24.0  # highest rate of the grid over the lowest: jobs inline end there


def margin(rows: Records, objective: Objective) -> float:
    """Return how far the rows are from the objective; from 0 on it is met.

    In log odds of being in time, because a share saturates: from 99 to 99.9 % is
    as far as from 91 to 99 %. Failed requests count as late; no request, no miss.
    """
    count = len(rows)
    share = float(np.mean(rows.latency() <= objective.limit)) if count else 1.0
    # All or none of them would be infinitely far: count half a request, of enough requests.
    half = 0.5 / max(count, samples_needed(objective.share))
    return _log_odds(min(max(share, half), 1.0 - half)) - _log_odds(objective.share)


def _log_odds(share: float) -> float:
    return math.log(share / (1.0 - share))


def search(
    distance: Callable[[float], float],
    top: float,
    steps: int,
    shift: float = 0.0,
    *,
    climb: bool = False,
) -> tuple[float, bool]:
    """Find the rate at which `distance` falls to 0, by bisection on a geometric grid.

    Args:
        distance: from 0 on the objective is met at a rate.
        top: no rate above this can be sustained; the answer is at most this.
        steps: probes; one more where a shifted grid is met as a whole.
        climb: `top` is an estimate only: where it is met, higher rates are tried.
        shift: 0 … 1, of the grid by a part of its step. Another one in each block
            makes the mean over blocks finer than the grid.

    Returns:
        The rate, and whether it is censored: even the lowest rate of the grid
        missed, and the figure is that rate.
    """
    count = 2**steps - 1  # bisection then takes exactly `steps` probes
    step = SPAN ** (1.0 / max(count - 1, 1))
    grid = [top / step ** (k + shift) for k in range(count)]  # descending
    seen: dict[int, float] = {}
    low, high = 0, count  # the border is between grid[low - 1], which missed, and grid[high]
    while low < high:
        middle = (low + high) // 2
        seen[middle] = distance(grid[middle])
        if seen[middle] >= 0.0:
            high = middle
        else:
            low = middle + 1
    if low == count:
        return grid[-1], True
    if not low:
        return _above(distance, (grid[0], seen[0]), top, _CLIMBS if climb else 0), False
    return _between((grid[low], seen[low]), (grid[low - 1], seen[low - 1])), False


def _above(
    distance: Callable[[float], float], met: tuple[float, float], top: float, climbs: int
) -> float:
    """Return the border above a grid that is met as a whole, at most `top` after `climbs` steps."""
    rates = [top] if met[0] < top else []
    rates += [top * _CLIMB**k for k in range(1, climbs + 1)]
    for rate in rates:
        found = distance(rate)
        if found < 0.0:
            return _between(met, (rate, found))
        met = (rate, found)
    return met[0]


def _between(met: tuple[float, float], missed: tuple[float, float]) -> float:
    """Return where a line between two (rate, distance) crosses 0; rates on a log scale."""
    (low, above), (high, below) = met, missed  # above >= 0 > below
    return low * math.exp(math.log(high / low) * above / (above - below))
