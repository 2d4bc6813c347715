from __future__ import annotations

from hybrid.core.workers.leadership import LeaderCandidate, Leadership, Order


def ready(*workers: int, leaving: tuple[int, ...] = ()) -> list[LeaderCandidate]:
    return [LeaderCandidate(worker, worker in leaving) for worker in workers]


def test_the_oldest_ready_worker_leads_and_stays_leader() -> None:
    leadership = Leadership()
    assert leadership.update([]) == []
    assert leadership.update(ready(3, 2)) == [Order(2, True)]
    assert leadership.update(ready(2, 3, 1)) == []
    assert leadership.leader == 2


def test_the_next_one_is_appointed_only_when_the_old_one_has_confirmed() -> None:
    leadership = Leadership()
    leadership.update(ready(1, 2))
    assert leadership.update(ready(2)) == [Order(1, False)]  # 1 drains
    assert leadership.leader is None
    assert leadership.update(ready(2)) == []
    leadership.note_confirmed(1)
    assert leadership.update(ready(2)) == [Order(2, True)]


def test_a_dead_leader_is_followed_at_once() -> None:
    leadership = Leadership()
    leadership.update(ready(1, 2))
    leadership.note_exit(1)
    assert leadership.update(ready(2)) == [Order(2, True)]


def test_one_that_dies_instead_of_confirming_is_followed() -> None:
    leadership = Leadership()
    leadership.update(ready(1, 2))
    leadership.update(ready(2))
    leadership.note_exit(1)
    assert leadership.update(ready(2)) == [Order(2, True)]


def test_who_is_about_to_be_replaced_is_chosen_last() -> None:
    leadership = Leadership()
    assert leadership.update(ready(1, 2, 3, leaving=(1, 2))) == [Order(3, True)]


def test_a_confirmation_nobody_asked_for_changes_nothing() -> None:
    leadership = Leadership()
    leadership.update(ready(1))
    leadership.note_confirmed(1)
    leadership.note_confirmed(9)
    leadership.note_exit(9)
    assert leadership.update(ready(1)) == []
    assert leadership.leader == 1
