from __future__ import annotations

import math

import pytest

from hybrid.bench.load.records import Records
from hybrid.bench.matrix.scenarios import Objective
from hybrid.bench.matrix.search import SPAN, margin, search


@pytest.mark.parametrize("limit", [990.0, 700.0, 300.0, 90.0])
@pytest.mark.parametrize("shift", [0.0, 0.618])
def test_the_search_reads_the_border_off_between_its_probes(limit: float, shift: float) -> None:
    asked: list[float] = []

    def distance(rate: float) -> float:
        asked.append(rate)
        return 3.0 * math.log(limit / rate)

    rate, censored = search(distance, 1000.0, 3, shift)

    assert not censored
    assert len(asked) == (4 if max(asked) == 1000.0 and shift else 3)
    assert rate == pytest.approx(limit, rel=0.01)


def test_no_rate_above_what_can_be_sustained_is_ever_reported() -> None:
    assert search(lambda rate: 1.0, 100.0, 3) == (100.0, False)


def test_a_rate_below_the_grid_is_censored() -> None:
    rate, censored = search(lambda rate: -1.0, 1000.0, 3)

    assert censored
    assert rate == pytest.approx(1000.0 / SPAN)


def test_an_objective_counts_failures_as_late() -> None:
    rows = Records.allocate(20)
    rows["done"][:18] = 0.01
    rows["outcome"][:18] = 1

    assert margin(rows, Objective("io", 0.8, 0.02)) > 0.0
    assert margin(rows, Objective("io", 0.95, 0.02)) < 0.0


def test_the_distance_grows_with_the_share_that_is_late() -> None:
    def late(count: int) -> Records:
        rows = Records.allocate(100)
        rows["done"][:] = 0.01
        rows["done"][:count] = 1.0
        rows["outcome"][:] = 1
        return rows

    objective = Objective("io", 0.9, 0.02)
    found = [margin(late(count), objective) for count in (0, 1, 5, 20, 100)]

    assert found == sorted(found, reverse=True)
    assert all(map(math.isfinite, found))


def test_few_requests_that_are_all_in_time_are_no_miss() -> None:
    rows = Records.allocate(2)
    rows["done"][:] = 0.01
    rows["outcome"][:] = 1

    assert margin(rows, Objective("job", 0.9, 0.02)) > 0.0
    assert margin(Records.allocate(0), Objective("job", 0.9, 0.02)) > 0.0
    assert margin(rows, Objective("job", 0.9, 0.001)) < 0.0


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8])
def test_the_place_of_the_grid_does_not_bound_the_answer(shift: float) -> None:
    assert search(lambda rate: 1.0, 100.0, 3, shift) == (100.0, False)
    just_below, _ = search(lambda rate: math.log(95.0 / rate), 100.0, 3, shift)
    assert just_below == pytest.approx(95.0)


def test_where_the_top_is_an_estimate_the_search_goes_above_it() -> None:
    border = 250.0
    rate, _ = search(lambda rate: math.log(border / rate), 100.0, 3, 0.4, climb=True)
    assert rate == pytest.approx(border)
    assert search(lambda rate: 1.0, 100.0, 3, climb=True)[0] == pytest.approx(100.0 * 1.3**5)
