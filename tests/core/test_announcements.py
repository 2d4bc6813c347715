from __future__ import annotations

import signal

import pytest

from hybrid.core.announcements import STORY, Announcement, Announcer, ExitReason, Kind, exit_reason
from hybrid.core.lifecycle import State


def an_announcement(at: float = 1.0) -> Announcement:
    return Announcement(Kind.FORK, slot=1, generation=1, pid=100, at=at)


def test_a_subscriber_that_raises_is_reported_and_the_next_one_still_hears() -> None:
    errors: list[Exception] = []
    heard: list[Announcement] = []
    announcer = Announcer(on_error=lambda _, ex: errors.append(ex))

    def broken(_: Announcement) -> None:
        raise RuntimeError("mine")

    announcer.subscribers += [broken, heard.append]

    announcer.announce(an_announcement())

    assert [str(ex) for ex in errors] == ["mine"]
    assert heard == [an_announcement()]


def test_the_story_is_bounded_and_keeps_the_newest() -> None:
    announcer = Announcer(on_error=lambda _, ex: None)

    for at in range(STORY + 5):
        announcer.announce(an_announcement(at))

    assert len(announcer.story) == STORY
    assert announcer.story[-1].at == STORY + 4


def test_a_subscriber_may_unsubscribe_while_it_is_told() -> None:
    announcer = Announcer(on_error=lambda _, ex: None)
    heard: list[str] = []

    def once(_: Announcement) -> None:
        heard.append("once")
        announcer.subscribers.remove(once)

    announcer.subscribers += [once, lambda _: heard.append("always")]
    announcer.announce(an_announcement())
    announcer.announce(an_announcement())

    assert heard == ["once", "always", "always"]


def test_json_holds_only_what_was_said() -> None:
    end = Announcement(
        Kind.EXIT,
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
    ("state", "leaving", "number", "code", "expected"),
    [
        (State.DRAINING, None, None, 0, ExitReason.DRAINED),
        (State.DRAINING, "reload", None, 0, ExitReason.DRAINED),
        (State.DRAINING, "SIGTERM", None, 0, ExitReason.DRAINED),
        (State.DRAINING, "1000 requests", None, 0, ExitReason.RECYCLED),
        (State.DRAINING, None, None, 1, ExitReason.CRASHED),
        (State.READY, None, None, 0, ExitReason.CRASHED),
        (State.STARTING, None, None, 4, ExitReason.CRASHED),
        (State.DRAINING, None, signal.SIGKILL, None, ExitReason.KILLED),
        (State.READY, None, signal.SIGSEGV, None, ExitReason.KILLED),
    ],
)
def test_the_reason_of_an_exit_is_voluntary_or_not(
    state: State, leaving: str | None, number: int | None, code: int | None, expected: ExitReason
) -> None:
    assert exit_reason(state, leaving, number, code) is expected


def test_a_kill_for_hanging_and_one_for_memory_are_told_apart() -> None:
    killed = signal.SIGKILL
    assert exit_reason(State.READY, None, killed, None, hung=True) is ExitReason.HUNG
    assert exit_reason(State.READY, None, killed, None, out_of_memory=True) is ExitReason.OOM
