from __future__ import annotations

from hybrid.core.reforking import Reforking
from hybrid.core.restart import RestartPolicy


def reforking() -> Reforking:
    return Reforking(RestartPolicy(intensity=3, period=10.0), lambda: 1.0, 0.0)


def test_a_slot_is_filled_at_once_unless_its_worker_died_young() -> None:
    slots = reforking()
    assert slots.start_at(1) <= 0.0
    slots.died(1, young=False, now=5.0)
    assert slots.start_at(1) == 5.0
    slots.died(1, young=True, now=6.0)
    first = slots.start_at(1) - 6.0
    slots.died(1, young=True, now=7.0)
    assert slots.start_at(1) - 7.0 == 2 * first > 0
    assert slots.start_at(2) <= 0.0, "another slot has nothing to do with it"
    slots.died(1, young=False, now=8.0)
    assert slots.start_at(1) == 8.0


def test_it_gives_up_when_workers_die_young_and_none_lives() -> None:
    slots = reforking()
    for now in (1.0, 2.0, 3.0):
        slots.died(1, young=True, now=now)
    assert not slots.gives_up(9.0)
    assert slots.gives_up(10.0)
    slots.was_ready(11.0)
    assert not slots.gives_up(30.0), "a worker has lived: the count begins again"
