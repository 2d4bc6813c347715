import pytest

from hybrid.core.jobs.token_bucket import ReplacementRate


def test_a_burst_then_a_stream():
    rate = ReplacementRate(3, 2.0)

    assert [rate.take(1.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rate.take(1.0) == pytest.approx(0.5)
    assert rate.take(1.25) == pytest.approx(0.25)
    assert rate.take(1.5) == 0.0


def test_over_a_minute_it_grants_no_more_than_its_rate():
    rate = ReplacementRate(4, 2.0)

    granted = sum(rate.take(1.0 + k * 0.01) == 0.0 for k in range(6000))

    assert granted <= 4 + 2 * 60


def test_the_bucket_does_not_fill_beyond_the_burst():
    rate = ReplacementRate(2, 2.0)
    rate.take(1.0)

    assert [rate.take(1000.0) == 0.0 for _ in range(3)] == [True, True, False]
