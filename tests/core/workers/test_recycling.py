"""Limits of a worker, and how they are drawn."""

from __future__ import annotations

import pytest

from hybrid.core.workers.recycling import Limits


@pytest.mark.parametrize(
    ("reached", "word"),
    [((10, 0.0, None), "requests"), ((0, 60.0, None), "old"), ((0, 0.0, 2**20 + 1), "resident")],
)
def test_the_first_limit_that_is_reached_is_named(
    reached: tuple[int, float, int | None], word: str
) -> None:
    limits = Limits(requests=10, age=60.0, rss=2**20)
    assert limits.any
    assert limits.reached(9, 59.9, 2**20) is None
    assert word in str(limits.reached(*reached))


def test_without_limits_there_is_nothing_to_watch() -> None:
    limits = Limits.draw(0, 100, 0.0, 0, lambda: 0.9)
    assert not limits.any
    assert limits.reached(10**9, 1e9, 2**60) is None


def test_jitter_adds_requests_and_shortens_a_lifetime_so_that_workers_do_not_end_together() -> None:
    early, late = (Limits.draw(100, 50, 1000.0, 0, lambda d=d: d) for d in (0.0, 0.9999))
    assert (early.requests, late.requests) == (100, 150)
    assert early.age == 1000.0
    assert late.age == pytest.approx(900.0, abs=0.1)
