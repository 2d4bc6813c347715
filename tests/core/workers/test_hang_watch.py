"""Judging a loop that stands still."""

from __future__ import annotations

from hybrid.core.workers.hang_watch import LAST_WORDS, HangStep, HangWatch


def test_a_hung_worker_prints_its_stacks_and_is_killed_a_moment_later() -> None:
    watch = HangWatch(10.0)
    ticks = {1: 100.0, 2: 110.0}

    steps = [watch.look(ticks, now) for now in (109.0, 110.5, 110.6, 110.5 + LAST_WORDS)]

    assert steps == [[], [(1, HangStep.DUMP)], [], [(1, HangStep.KILL)]]
    assert watch.killed == {1}


def test_a_loop_that_ticks_again_is_forgiven() -> None:
    watch = HangWatch(10.0)
    assert watch.look({1: 100.0}, 111.0) == [(1, HangStep.DUMP)]
    assert watch.look({1: 111.5}, 111.6) == []
    assert watch.look({1: 111.5}, 122.0) == [(1, HangStep.DUMP)]


def test_a_worker_that_starts_is_never_judged_and_by_default_nobody_is() -> None:
    assert HangWatch(1.0).look({1: 0.0}, 1e6) == []
    off = HangWatch(0.0)
    assert off.look({1: 1.0}, 1e6) == []
    assert off.period is None
