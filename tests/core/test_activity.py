"""What lets timers rest."""

from __future__ import annotations

from hybrid.core.activity import Activity


def test_the_first_thing_that_comes_wakes_once() -> None:
    activity, woken = Activity(), []
    activity.begin()
    activity.rest(lambda: woken.append(1))
    assert activity.is_resting

    activity.begin()
    activity.begin()

    assert woken == [1]
    assert not activity.is_resting


def test_what_was_woken_may_rest_again_at_once() -> None:
    activity, woken = Activity(), []

    def wake() -> None:
        woken.append(1)
        activity.rest(wake)

    activity.rest(wake)
    activity.begin()
    activity.begin()
    assert woken == [1, 1]
