import math

import pytest

from hybrid.core.jobs.admission import SHORTEST_RETRY, AdmissionQueue, ServiceRate, admit
from hybrid.core.jobs.ticket import Ticket
from hybrid.errors import DeadlineTooShort, QueueFull


def ticket(kind=0, low=False, at=1.0):
    return Ticket(2 * kind + low, at, math.inf)


def queue_of(*tickets, limit=100):
    queue = AdmissionQueue(3, limit)
    for one in tickets:
        queue.enter(one)
    return queue


def take_all(queue, kinds):
    order = []
    while (one := queue.next(kinds)) is not None:
        queue.leave(one)
        order.append(one)
    return order


def test_first_come_first_served_over_all_kinds():
    tickets = [ticket(2), ticket(0), ticket(1), ticket(0)]

    assert take_all(queue_of(*tickets), [0, 1, 2]) == tickets


def test_low_priority_comes_last_and_keeps_its_order():
    a, b, c, d = ticket(low=True), ticket(), ticket(low=True), ticket(1)

    assert take_all(queue_of(a, b, c, d), [0, 1]) == [b, d, a, c]


def test_a_kind_that_cannot_start_blocks_nobody():
    blocked, free = ticket(0), ticket(1)
    queue = queue_of(blocked, free)

    assert queue.next([1]) is free
    assert queue.next([2]) is None
    assert queue.next([0, 1]) is blocked


def test_leaving_takes_out_of_the_middle():
    a, b, c = ticket(), ticket(), ticket()
    queue = queue_of(a, b, c)

    queue.leave(b)

    assert len(queue) == 2
    assert take_all(queue, [0]) == [a, c]


def test_leaving_twice_is_a_bug():
    a = ticket()
    queue = queue_of(a)
    queue.leave(a)

    with pytest.raises(KeyError):
        queue.leave(a)


def test_entering_again_gives_the_old_place_back():
    a, b = ticket(), ticket()
    queue = queue_of(a, b)
    queue.leave(a)

    queue.enter_again(a)

    assert take_all(queue, [0]) == [a, b]


def test_oldest_counts_only_the_kinds_asked_for():
    queue = queue_of(ticket(0, at=5.0), ticket(1, at=7.0), ticket(1, at=8.0))

    assert queue.oldest([1]) == 7.0
    assert queue.oldest([0, 1]) == 5.0
    assert queue.oldest([2]) == 0.0


def test_a_low_newcomer_waits_for_everybody_a_normal_one_only_for_its_like():
    queue = queue_of(ticket(), ticket(low=True), ticket(1, low=True))

    assert queue.ahead_of(low=False) == 1
    assert queue.ahead_of(low=True) == 3
    assert queue.waiting(0) == 2


def steady(interval, run, slots=4, n=200):
    rate = ServiceRate(slots)
    for k in range(n):
        rate.ended(1.0 + k * interval, run, saturated=True)
    return rate


def test_the_rate_of_a_saturated_pool_is_that_of_its_ends():
    assert steady(0.05, run=10.0).per_second == pytest.approx(20.0)


def test_without_saturation_the_rate_follows_from_the_run_time():
    rate = ServiceRate(4)
    for k in range(50):
        rate.ended(100.0 * k, run=0.5, saturated=False)

    assert rate.per_second == pytest.approx(8.0)


def test_an_idle_hour_does_not_count_as_slow_service():
    rate = steady(0.05, run=0.2)
    rate.ended(50.0, 0.2, saturated=False)
    rate.ended(3600.0, 0.2, saturated=True)

    assert rate.per_second > 0.5 / 5.0


def test_nothing_known_promises_nothing():
    assert ServiceRate(4).per_second == 0.0
    assert ServiceRate(4).wait(10) == 0.0


def test_a_full_queue_says_when_a_place_will_be_free():
    with pytest.raises(QueueFull) as caught:
        admit(64, 64, 64, steady(0.5, 1.0), math.inf)

    assert caught.value.retry_after == pytest.approx(0.5)


def test_a_full_queue_never_asks_for_a_busy_loop():
    with pytest.raises(QueueFull) as caught:
        admit(64, 64, 64, steady(0.001, 1.0), math.inf)

    assert caught.value.retry_after == SHORTEST_RETRY


def test_a_deadline_that_cannot_be_met_is_refused_at_once():
    rate = steady(0.5, 1.0)

    with pytest.raises(DeadlineTooShort) as caught:
        admit(9, 9, 64, rate, 2.0)

    assert caught.value.retry_after == pytest.approx(3.0)
    assert str(caught.value).startswith("the deadline cannot be met: 9 jobs wait")
    assert isinstance(caught.value, QueueFull)  # a handler that knows only that one goes on working
    admit(9, 9, 64, rate, 6.0)


def test_nobody_is_refused_on_an_estimate_from_few_samples():
    admit(9, 9, 64, steady(0.5, 1.0, n=3), 0.1)


def test_zero_places_means_no_limit():
    admit(10**6, 10**6, 0, ServiceRate(1), math.inf)
