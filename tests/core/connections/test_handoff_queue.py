"""Which worker is asked next, without a socket."""

from __future__ import annotations

import pytest

from hybrid.core.connections.handoff_queue import PAUSE, TAKE_BACK_AFTER, HandoffQueue


def a_queue(*workers: int, **kwargs: object) -> HandoffQueue:
    queue = HandoffQueue(**kwargs)  # type: ignore[arg-type]
    for worker in workers:
        queue.join(worker)
    return queue


def give(queue: HandoffQueue, connection: int, now: float = 0.0) -> int:
    worker = queue.choose(now)
    assert worker is not None
    queue.note_offered(worker, connection, now)
    return worker


def test_connections_go_round() -> None:
    queue = a_queue(1, 2, 3)
    order = []
    for connection in range(1, 7):
        worker = give(queue, connection)
        queue.note_taken(worker, connection)
        order.append(worker)
    assert order == [1, 2, 3, 1, 2, 3]


def test_a_worker_that_has_not_answered_is_skipped() -> None:
    queue = a_queue(1, 2)
    assert give(queue, 1) == 1  # and it says nothing
    order = []
    for connection in range(2, 5):
        worker = give(queue, connection)
        queue.note_taken(worker, connection)
        order.append(worker)
    assert order == [2, 2, 2]


def test_no_worker_is_free_when_each_has_an_open_offer() -> None:
    queue = a_queue(1, 2)
    give(queue, 1)
    give(queue, 2)
    assert queue.choose(0.0) is None


def test_a_worker_that_refuses_pauses_and_the_next_one_is_asked() -> None:
    queue = a_queue(1, 2)
    assert give(queue, 1) == 1
    queue.note_refused(1, 1, now=0.0)
    assert give(queue, 1) == 2
    assert queue.choose(PAUSE / 2) is None
    assert queue.next_timer(PAUSE / 2) == pytest.approx(PAUSE)
    assert queue.choose(PAUSE) == 1


def test_a_worker_that_leaves_returns_the_connection_it_has_not_answered() -> None:
    queue = a_queue(1, 2)
    give(queue, 7)
    assert queue.leave(1) == 7
    assert queue.leave(2) is None
    assert queue.leave(3) is None  # never took part


def test_an_answer_for_another_connection_changes_nothing() -> None:
    queue = a_queue(1)
    give(queue, 7)
    queue.note_taken(1, 8)
    queue.note_refused(1, 8, now=0.0)
    queue.note_taken(2, 7)
    assert queue.leave(1) == 7


def test_a_connection_without_an_answer_is_taken_back_once_another_worker_is_free() -> None:
    queue = a_queue(1, 2)
    give(queue, 1)
    give(queue, 2)
    assert queue.overdue(TAKE_BACK_AFTER) == []  # no worker is free
    queue.note_taken(2, 2)
    assert queue.overdue(TAKE_BACK_AFTER / 2) == []
    assert queue.overdue(TAKE_BACK_AFTER) == [(1, 1)]


def test_a_silent_worker_is_not_asked_until_it_answers() -> None:
    queue = a_queue(1, 2)
    give(queue, 1)
    queue.note_taken_back(1)
    assert give(queue, 1) == 2
    assert queue.choose(100.0) is None
    queue.note_alive(1)
    assert queue.choose(100.0) == 1


def test_the_least_loaded_is_asked() -> None:
    load = {1: (3.0,), 2: (1.0,), 3: (2.0,)}
    queue = a_queue(1, 2, 3, load=lambda worker, taken: load[worker])
    assert give(queue, 1) == 2
    assert give(queue, 2) == 3  # 2 has not answered yet


def test_equal_loads_take_turns() -> None:
    queue = a_queue(1, 2, 3, load=lambda worker, taken: (0.0,))
    order = []
    for connection in range(1, 5):
        worker = give(queue, connection)
        queue.note_taken(worker, connection)
        order.append(worker)
    assert order == [1, 2, 3, 1]


def test_the_load_counts_what_a_worker_has_taken() -> None:
    queue = a_queue(1, 2, load=lambda worker, taken: (float(taken),))
    order = []
    for connection in range(1, 5):
        worker = give(queue, connection)
        if connection != 2:
            queue.note_taken(worker, connection)
        else:
            queue.note_refused(worker, connection, now=-1.0)
        order.append(worker)
    assert order == [1, 2, 2, 1]
