"""Who is asked next, without a socket."""

from __future__ import annotations

import pytest

from hybrid.core.connections.handoff_queue import PATIENCE, REST, HandoffQueue


def a_rota(*workers: int, **kwargs: object) -> HandoffQueue:
    rota = HandoffQueue(**kwargs)  # type: ignore[arg-type]
    for worker in workers:
        rota.join(worker)
    return rota


def give(rota: HandoffQueue, connection: int, now: float = 0.0) -> int:
    worker = rota.choose(now)
    assert worker is not None
    rota.handed(worker, connection, now)
    return worker


def test_connections_go_round() -> None:
    rota = a_rota(1, 2, 3)
    order = []
    for connection in range(1, 7):
        worker = give(rota, connection)
        rota.taken(worker, connection)
        order.append(worker)
    assert order == [1, 2, 3, 1, 2, 3]


def test_a_worker_that_has_not_acknowledged_is_skipped() -> None:
    rota = a_rota(1, 2)
    assert give(rota, 1) == 1  # and it says nothing
    order = []
    for connection in range(2, 5):
        worker = give(rota, connection)
        rota.taken(worker, connection)
        order.append(worker)
    assert order == [2, 2, 2]


def test_nobody_is_free_when_everybody_holds_one() -> None:
    rota = a_rota(1, 2)
    give(rota, 1)
    give(rota, 2)
    assert rota.choose(0.0) is None


def test_who_refuses_rests_and_the_next_one_is_asked() -> None:
    rota = a_rota(1, 2)
    assert give(rota, 1) == 1
    assert rota.refused(1, 1, now=0.0)
    assert give(rota, 1) == 2
    assert rota.choose(REST / 2) is None
    assert rota.next_timer(REST / 2) == pytest.approx(REST)
    assert rota.choose(REST) == 1


def test_a_dead_worker_gives_back_what_it_had_not_acknowledged() -> None:
    rota = a_rota(1, 2)
    give(rota, 7)
    assert rota.leave(1) == 7
    assert rota.leave(2) is None
    assert rota.leave(3) is None  # never took part


def test_a_verdict_for_another_connection_changes_nothing() -> None:
    rota = a_rota(1)
    give(rota, 7)
    assert not rota.taken(1, 8)
    assert not rota.refused(1, 8, now=0.0)
    assert not rota.taken(2, 7)
    assert rota.leave(1) == 7


def test_a_connection_left_lying_is_taken_back_once_somebody_else_is_free() -> None:
    rota = a_rota(1, 2)
    give(rota, 1)
    give(rota, 2)
    assert rota.overdue(PATIENCE) == []  # nobody could take it
    rota.taken(2, 2)
    assert rota.overdue(PATIENCE / 2) == []
    assert rota.overdue(PATIENCE) == [(1, 1)]


def test_who_left_one_lying_is_not_asked_until_it_answers() -> None:
    rota = a_rota(1, 2)
    give(rota, 1)
    rota.taken_back(1)
    assert give(rota, 1) == 2
    assert rota.choose(100.0) is None
    rota.returned(1)
    assert rota.choose(100.0) == 1


def test_the_least_loaded_is_asked() -> None:
    load = {1: (3.0,), 2: (1.0,), 3: (2.0,)}
    rota = a_rota(1, 2, 3, load=load.__getitem__)
    assert give(rota, 1) == 2
    assert give(rota, 2) == 3  # 2 has not acknowledged yet


def test_equal_loads_take_turns() -> None:
    rota = a_rota(1, 2, 3, load=lambda worker: (0.0,))
    order = []
    for connection in range(1, 5):
        worker = give(rota, connection)
        rota.taken(worker, connection)
        order.append(worker)
    assert order == [1, 2, 3, 1]


def test_what_a_worker_has_taken_is_counted() -> None:
    rota = a_rota(1)
    give(rota, 1)
    assert rota.given(1) == 0
    rota.taken(1, 1)
    assert rota.given(1) == 1
