from __future__ import annotations

import math

import numpy as np
import pytest

from hybrid.bench.theory.statistics import (
    detectable,
    interval,
    jain,
    quantile,
    ratio,
    samples_needed,
    t_95,
)


def test_a_quantile_needs_ten_samples_beyond_it() -> None:
    assert samples_needed(0.99) == 1000
    assert samples_needed(0.5) == 20
    assert quantile(np.arange(999.0), 0.99) is None
    assert quantile(np.arange(1000.0), 0.99) == 989.0


def test_a_request_that_was_never_answered_makes_the_quantile_infinite() -> None:
    values = np.concatenate([np.zeros(90), np.full(10, np.inf)])

    assert quantile(values, 0.9) == 0.0
    assert quantile(np.concatenate([values, [np.inf]]), 0.9) == math.inf


def test_a_ratio_is_the_geometric_mean_with_a_t_interval() -> None:
    found = ratio([2.0, 4.0, 8.0], [1.0, 1.0, 1.0])

    # Logs are ln2, 2 ln2, 3 ln2: mean 2 ln2, standard deviation ln2, t = 4.303, n = 3.
    half = 4.303 * math.log(2) / math.sqrt(3)
    assert found.estimate == pytest.approx(4.0)
    assert found.low == pytest.approx(math.exp(2 * math.log(2) - half))
    assert (found.wins, found.pairs) == (3, 3)


def test_one_block_separates_nothing() -> None:
    assert not ratio([100.0], [1.0]).separated


def test_a_steady_difference_is_separated_and_a_noisy_one_is_not() -> None:
    assert ratio([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]).separated
    assert not ratio([2.0, 0.5, 1.4], [1.0, 1.0, 1.0]).separated


def test_what_chance_can_do_is_not_believed() -> None:
    chance = detectable([1.0, 1.1, 0.95], [1.05, 1.0, 1.0])
    small = ratio([1.05, 1.05, 1.051], [1.0, 1.0, 1.0])

    assert small.separated
    assert not small.exceeds(chance)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [math.inf, 1.0], [1.0]])
def test_a_ratio_refuses_what_has_no_logarithm_or_no_partner(bad: list[float]) -> None:
    with pytest.raises(ValueError):
        ratio(bad, [1.0, 1.0])


def test_the_interval_of_equal_blocks_is_a_point() -> None:
    assert interval([3.0, 3.0, 3.0]) == pytest.approx((3.0, 3.0, 3.0))


def test_t_goes_to_the_normal_quantile() -> None:
    assert t_95(1) == 12.706
    assert t_95(1000) == pytest.approx(1.962, abs=0.001)


def test_fairness_is_one_for_equal_shares_and_one_nth_for_a_monopoly() -> None:
    assert jain([5, 5, 5, 5]) == 1.0
    assert jain([20, 0, 0, 0]) == 0.25
    assert math.isnan(jain([]))
