"""Durations counted in logarithmic buckets."""

from __future__ import annotations

import math

import pytest

from hybrid.core.histogram import BOUNDS, BUCKETS, Histogram, quantile, since


@pytest.mark.parametrize("q", [0.01, 0.5, 0.99, 1.0])
def test_a_quantile_is_at_most_a_quarter_octave_above_the_true_one(q: float) -> None:
    histogram = Histogram()
    values = [0.0005 * 1.01**k for k in range(1000)]
    for value in values:
        histogram.add(value)

    found = quantile(histogram.counts, q)

    true = values[math.ceil(q * len(values)) - 1]
    assert found is not None
    assert true <= found <= true * 2**0.25 * 1.000001


def test_every_duration_has_a_bucket() -> None:
    histogram = Histogram()
    for value in (0.0, BOUNDS[0], BOUNDS[-1], BOUNDS[-1] + 1, 1e9):
        histogram.add(value)

    assert len(histogram.counts) == BUCKETS
    assert (histogram.counts[0], histogram.counts[-2], histogram.counts[-1]) == (2, 1, 2)
    assert quantile(histogram.counts, 1.0) == math.inf


def test_counts_of_two_workers_can_be_added() -> None:
    fast, slow = Histogram(), Histogram()
    for _ in range(98):
        fast.add(0.001)
    slow.add(1.0)
    slow.add(1.0)

    together = [a + b for a, b in zip(fast.counts, slow.counts, strict=True)]

    assert quantile(together, 0.5) == quantile(fast.counts, 0.5)
    assert quantile(together, 0.99) == quantile(slow.counts, 0.5)
    assert quantile([0] * BUCKETS, 0.5) is None


def test_counts_can_live_in_shared_memory_and_two_readings_give_the_time_between() -> None:
    block = memoryview(bytearray(8 * BUCKETS)).cast("q")
    histogram = Histogram(block)
    histogram.add(0.001)
    before = block.tolist()
    histogram.add(1.0)

    assert sum(block) == 2
    assert quantile(since(block.tolist(), before), 0.5) == pytest.approx(1.0, rel=0.19)
