"""Permits: at most N in the cluster, whoever dies."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from hybrid.system.memory.permits import Permits, PermitTable
from hybrid.system.scoreboard.scoreboard import Scoreboard


@pytest.fixture
def cluster() -> Iterator[Any]:
    table = PermitTable(2, 4)
    yield table, Scoreboard(4)
    table.close()


def other_process(table, scoreboard, row, do):
    """Run `do(permits)` in a forked process and return (pid, a pipe to read from)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # nobody is left behind, even by a test that fails
        try:
            os.write(writer, repr(do(Permits(table, scoreboard, row))).encode() or b"-")
            os.close(writer)
            signal.pause()
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def result_of(reader):
    assert select.select([reader], [], [], 10)[0]
    return os.read(reader, 1000).decode()


def end(pid, reader):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)


def test_a_process_takes_each_permit_once(cluster: tuple[PermitTable, Scoreboard]) -> None:
    permits = Permits(*cluster, 0)

    assert {permits.take(1.0), permits.take(1.0)} == {0, 1}
    assert permits.take(1.0) is None

    assert permits.keep(1)
    permits.release()
    assert permits.take(1.0) == 1


def test_permits_of_another_process_are_taken(cluster: tuple[PermitTable, Scoreboard]) -> None:
    pid, reader = other_process(*cluster, 1, lambda other: other.take(1.0))
    try:
        result_of(reader)
        permits = Permits(*cluster, 0)
        assert permits.take(1.0) is not None
        assert permits.take(1.0) is None
    finally:
        end(pid, reader)


def test_the_kernel_gives_the_permits_of_a_killed_process_back(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    pid, reader = other_process(*cluster, 1, lambda other: (other.take(1.0), other.take(1.0)))
    permits = Permits(*cluster, 0)
    result_of(reader)
    assert permits.take(1.0) is None

    end(pid, reader)

    assert permits.take(1.0) is not None
    assert permits.take(1.0) is not None


def test_a_forked_child_that_ends_takes_no_permit_with_it(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    permits = Permits(*cluster, 0)
    assert permits.take(1.0) is not None
    assert permits.take(1.0) is not None

    pid = os.fork()
    if pid == 0:
        os.close(cluster[0].fd)
        os._exit(0)
    os.waitpid(pid, 0)

    other, reader = other_process(*cluster, 1, lambda permits: permits.take(1.0))
    try:
        assert result_of(reader) == "None"
    finally:
        end(other, reader)


def test_a_newcomer_leaves_the_permit_to_the_older_job_and_rings_it(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    old, new = Permits(*cluster, 0), Permits(*cluster, 1)
    old.waits_since(5.0)

    assert new.take(9.0) is None
    assert select.select([old.fileno()], [], [], 0)[0]

    old.answer_bell()
    assert not select.select([old.fileno()], [], [], 0)[0]
    assert old.take(5.0) is not None


def test_the_regular_look_waits_for_nobody(cluster: tuple[PermitTable, Scoreboard]) -> None:
    hung, other = Permits(*cluster, 0), Permits(*cluster, 1)
    hung.waits_since(5.0)

    assert other.take(9.0, patient=False) is not None


def look_twice(permits):
    """What a worker does in 20 ms of waiting."""
    permits.pass_over_silent()
    permits.pass_over_silent()


def test_a_worker_that_does_not_answer_its_bell_is_passed_over(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    hung, other = Permits(*cluster, 0), Permits(*cluster, 1)
    hung.waits_since(5.0)

    assert other.take(9.0) is None
    other.pass_over_silent()
    assert other.take(9.0) is None  # it may have been rung just before the look
    other.pass_over_silent()
    permit = other.take(9.0)
    assert permit is not None
    assert other.keep(permit)


def test_every_worker_that_does_not_answer_is_passed_over(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    first, second, other = (Permits(*cluster, row) for row in range(3))
    first.waits_since(5.0)
    second.waits_since(6.0)

    for _ in range(2):
        assert other.take(9.0) is None
        look_twice(other)

    assert other.take(9.0) is not None


def test_a_worker_that_answers_its_bell_is_never_passed_over(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    busy, other = Permits(*cluster, 0), Permits(*cluster, 1)
    busy.waits_since(5.0)

    for _ in range(3):
        assert other.take(9.0) is None
        busy.answer_bell()
        look_twice(other)

    assert other.take(9.0) is None


@pytest.mark.parametrize("sign", ["its bell is answered", "it waits for another job"])
def test_a_worker_that_was_passed_over_comes_first_again_at_its_sign_of_life(
    cluster: tuple[PermitTable, Scoreboard], sign: Any
) -> None:
    hung, other = Permits(*cluster, 0), Permits(*cluster, 1)
    hung.waits_since(5.0)
    assert other.take(9.0) is None
    look_twice(other)
    kept = other.take(9.0)
    assert kept is not None

    if sign == "its bell is answered":
        hung.answer_bell()
    else:
        hung.waits_since(6.0)

    assert other.take(9.0) is None
    assert not other.keep(kept)


def test_giving_back_rings_whoever_has_waited_longest(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    giver, second, first = (Permits(*cluster, row) for row in range(3))
    permit = giver.take(1.0)
    second.waits_since(7.0)
    first.waits_since(3.0)

    assert not giver.keep(permit)

    assert select.select([first.fileno()], [], [], 0)[0]
    assert not select.select([second.fileno()], [], [], 0)[0]


def test_a_kept_permit_is_taken_again_without_the_kernel(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    mine, other = Permits(*cluster, 0), other_process(*cluster, 1, lambda o: o.take(1.0))
    permit = mine.take(1.0)
    assert result_of(other[1]) in ("0", "1")

    assert mine.keep(permit)
    assert mine.take(2.0) == permit

    assert mine.keep(permit)
    mine.release()
    assert cluster[0].in_use() == 1  # the other one's
    end(*other)


def test_nothing_is_kept_while_another_worker_waits(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    mine, other = Permits(*cluster, 0), Permits(*cluster, 1)
    permits = [mine.take(1.0), mine.take(1.0)]
    other.waits_since(2.0)

    assert not mine.keep(permits[0])
    assert select.select([other.fileno()], [], [], 0)[0]


def test_what_is_kept_goes_to_an_older_job_that_waits_elsewhere(
    cluster: tuple[PermitTable, Scoreboard],
) -> None:
    mine, other = Permits(*cluster, 0), Permits(*cluster, 1)
    assert mine.keep(mine.take(1.0))
    other.waits_since(2.0)

    assert mine.take(3.0) is None
    assert len(mine._free) == 2
    assert select.select([other.fileno()], [], [], 0)[0]
