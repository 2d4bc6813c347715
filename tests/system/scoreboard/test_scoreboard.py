from __future__ import annotations

import os

from hybrid.system.scoreboard.scoreboard import Scoreboard


def test_what_a_child_writes_the_parent_reads() -> None:
    board = Scoreboard(4)
    index = board.claim(slot=3, generation=1, started_at=5.0)
    assert index is not None
    pid = os.fork()
    if pid == 0:
        board.row(index).add("requests", 7)
        os._exit(0)
    os.waitpid(pid, 0)
    assert [(w["slot"], w["requests"]) for w in board.workers()] == [(3, 7)]


def test_counters_of_the_dead_are_kept_and_their_rows_used_again() -> None:
    board = Scoreboard(1)
    for _ in range(3):
        index = board.claim(1, 1, 0.0)
        assert index == 0
        board.row(index).add("jobs_ok", 2)
        assert board.claim(2, 1, 0.0) is None
        board.release(index)
    assert board.totals()["jobs_ok"] == 6
    assert list(board.workers()) == []


def test_the_oldest_waiting_row_is_found() -> None:
    board = Scoreboard(4)
    assert board.oldest_waiting() is None
    board.waits_since(2, 7.0)
    board.waits_since(1, 9.0)
    assert board.oldest_waiting() == 2
    board.waits_since(3, 5.0)
    assert board.oldest_waiting() == 3
    assert board.oldest_waiting({3: board.wait_of(3)}) == 2
