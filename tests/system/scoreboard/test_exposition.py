"""The metrics of a scoreboard."""

from __future__ import annotations

from hybrid.core.jobs.ticket import Outcome
from hybrid.system.scoreboard.exposition import exposition
from hybrid.system.scoreboard.scoreboard import Scoreboard


def test_every_slot_is_counted_in_one_state() -> None:
    board = Scoreboard(2)
    for slot, (busy, abandoned) in enumerate([(3, 2), (1, 0)], 1):
        index = board.claim(slot, 1, 0.0)
        assert index is not None
        row = board.row(index)
        row.set("pool_slots", 4)
        row.set("pool_busy", busy)
        row.set("pool_abandoned", abandoned)

    text = exposition(board)

    for state, slots in (("busy", 2), ("idle", 4), ("poisoned", 2)):
        assert f'hybrid_cpu_slots{{state="{state}"}} {slots}\n' in text


def test_a_job_whose_process_was_killed_is_counted_once() -> None:
    board = Scoreboard(1)
    index = board.claim(1, 1, 0.0)
    assert index is not None
    row = board.row(index)
    row.set("jobs_timeout", 1)
    row.set("pool_processes_killed", 1)

    lines = [
        line.split()
        for line in exposition(board).splitlines()
        if line.startswith("hybrid_cpu_jobs_total")
    ]

    assert sum(float(value) for _, value in lines) == 1
    assert len(lines) == len(Outcome)
