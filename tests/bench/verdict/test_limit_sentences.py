"""What the limit on jobs at once is worth, from cells that nobody measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hybrid.bench.matrix.run import Results
from hybrid.bench.server.topology import six, unlimited
from hybrid.bench.verdict.limit_sentences import limit_effects, limit_sentences
from hybrid.bench.verdict.verdict import judge
from tests.bench.made_up import FACTORS, cell, results


def with_and_without(rates: dict[str, float]) -> Results:
    found = results(rates, scenario="mixed")
    profile = replace(found.profile, unlimited=unlimited(2, 2), limit_rows=("mixed",))
    return replace(found, profile=profile)


def test_where_the_interval_separates_them_it_says_which_is_better() -> None:
    found = with_and_without({"NxT": 100.0, "NxP": 100.0, "NxT∞": 50.0, "1x0": 1.0, "NxP∞": 100.2})

    effects = [e for e in limit_effects(found) if e.metric.key == "slo_rate"]

    assert [(e.topology, e.verdict) for e in effects] == [
        ("NxT", "the limit pays"),
        ("NxP", "no difference"),
    ]
    assert effects[0].ratio.estimate == pytest.approx(0.5, rel=0.02)
    said = limit_sentences(found)
    assert "without a limit" in said[0]
    assert "× 0.50" in said[0]


def test_the_columns_without_a_limit_take_no_part_in_the_verdict() -> None:
    found = with_and_without({"NxT": 100.0, "NxP": 90.0, "NxT∞": 500.0})

    row = judge(found, "mixed")

    assert row.best == ("NxT",)
    assert "NxT∞" not in row.figures


def test_a_column_that_was_not_measured_is_no_comparison() -> None:
    found = with_and_without({"NxT": 100.0})
    found.cells.append(cell(0, "mixed", "NxP∞", 100.0 * FACTORS[0]))

    assert limit_effects(found) == []
    assert [t.limited_key for t in unlimited(2, 2)] == [t.key for t in six(2, 2)[4:]]
