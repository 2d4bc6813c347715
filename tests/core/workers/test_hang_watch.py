"""Judging a loop that stands still."""

from __future__ import annotations

from hybrid.core.workers.hang_watch import DUMP_TIME, HangStep, HangWatch


def test_a_hung_worker_prints_its_stacks_and_is_killed_a_moment_later() -> None:
    watch = HangWatch(10.0)
    ticks = {1: 100.0, 2: 110.0}

    steps = [watch.due_steps(ticks, now) for now in (109.0, 110.5, 110.6, 110.5 + DUMP_TIME)]

    assert steps == [[], [(1, HangStep.DUMP)], [], [(1, HangStep.KILL)]]
    assert watch.killed == {1}


def test_a_loop_that_ticks_again_is_forgiven() -> None:
    watch = HangWatch(10.0)
    assert watch.due_steps({1: 100.0}, 111.0) == [(1, HangStep.DUMP)]
    assert watch.due_steps({1: 111.5}, 111.6) == []
    assert watch.due_steps({1: 111.5}, 122.0) == [(1, HangStep.DUMP)]


def test_a_worker_that_starts_is_never_judged_and_by_default_nobody_is() -> None:
    assert HangWatch(1.0).due_steps({1: 0.0}, 1e6) == []
    off = HangWatch(0.0)
    assert off.due_steps({1: 1.0}, 1e6) == []
    assert off.period is None
