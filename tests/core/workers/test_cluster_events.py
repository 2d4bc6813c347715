from __future__ import annotations

import pytest

from hybrid.core.workers.cluster_events import (
    ClusterEvent,
    EventKind,
    EventPublisher,
    ExitReason,
    exit_reason,
)
from hybrid.core.workers.lifecycle import Leaving


def an_event(at: float = 1.0) -> ClusterEvent:
    return ClusterEvent(EventKind.FORK, slot=1, generation=1, pid=100, at=at)


def test_a_subscriber_that_raises_is_reported_and_the_next_one_still_hears() -> None:
    errors: list[Exception] = []
    heard: list[ClusterEvent] = []
    publisher = EventPublisher(on_error=lambda _, ex: errors.append(ex))

    def broken(_: ClusterEvent) -> None:
        raise RuntimeError("mine")

    publisher.subscribers += [broken, heard.append]

    publisher.publish(an_event())

    assert [str(ex) for ex in errors] == ["mine"]
    assert heard == [an_event()]


def test_a_subscriber_may_unsubscribe_while_it_is_told() -> None:
    publisher = EventPublisher(on_error=lambda _, ex: None)
    heard: list[str] = []

    def once(_: ClusterEvent) -> None:
        heard.append("once")
        publisher.subscribers.remove(once)

    publisher.subscribers += [once, lambda _: heard.append("always")]
    publisher.publish(an_event())
    publisher.publish(an_event())

    assert heard == ["once", "always", "always"]


def test_json_holds_only_what_was_said() -> None:
    end = ClusterEvent(
        EventKind.EXIT,
        slot=2,
        generation=3,
        pid=7,
        at=1.5,
        code=42,
        reason="crashed",
        text="exit code 42",
    )
    assert end.as_json() == {
        "kind": "exit",
        "slot": 2,
        "generation": 3,
        "pid": 7,
        "at": 1.5,
        "code": 42,
        "reason": "crashed",
        "text": "exit code 42",
    }


@pytest.mark.parametrize(
    ("asked", "code", "expected"),
    [
        (Leaving.SCALE, 0, ExitReason.DRAINED),
        (Leaving.RELOAD, 0, ExitReason.DRAINED),
        (Leaving.TERM, 0, ExitReason.DRAINED),
        (Leaving.DRAIN, 0, ExitReason.DRAINED),
        (Leaving.RECYCLE, 0, ExitReason.RECYCLED),
        (Leaving.SCALE, 1, ExitReason.CRASHED),
        (None, 0, ExitReason.CRASHED),
        (None, 4, ExitReason.CRASHED),
        (Leaving.SCALE, None, ExitReason.KILLED),
        (None, None, ExitReason.KILLED),
    ],
)
def test_the_reason_of_an_exit_is_voluntary_or_not(
    asked: Leaving | None, code: int | None, expected: ExitReason
) -> None:
    assert exit_reason(asked, code) is expected


@pytest.mark.parametrize("leaving", Leaving)
def test_every_reason_to_leave_has_a_reason_of_its_exit(leaving: Leaving) -> None:
    assert exit_reason(leaving, 0) in (ExitReason.DRAINED, ExitReason.RECYCLED)


def test_a_function_of_a_script_may_come_to_its_end() -> None:
    assert exit_reason(None, 0, may_return=True) is ExitReason.FINISHED
    assert exit_reason(None, 1, may_return=True) is ExitReason.CRASHED


def test_a_kill_for_hanging_and_one_for_memory_are_told_apart() -> None:
    assert exit_reason(None, None, hung=True) is ExitReason.HUNG
    assert exit_reason(None, None, out_of_memory=True) is ExitReason.OOM
