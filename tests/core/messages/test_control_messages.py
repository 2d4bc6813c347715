"""Requests as frames, wishes and their verdicts."""

from __future__ import annotations

import pytest

from hybrid.core.messages import control_messages as c
from hybrid.core.workers import events as e
from hybrid.core.workers.lifecycle import Leaving
from hybrid.core.workers.phase import Phase
from hybrid.errors import LinkError
from tests.core.workers.test_supervision import Story, of


@pytest.mark.parametrize(
    "request_",
    [
        c.StatusRequest(),
        c.EventsRequest(),
        c.ReloadRequest(),
        c.ScaleRequest(by=-1),
        c.ScaleRequest(to=4),
        c.DrainRequest(2),
        c.StopRequest(True),
    ],
)
def test_a_request_survives_its_frame(request_: c.ControlRequest) -> None:
    assert c.decode(c.encode(request_)) == request_


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b'{"ask":"dance"}',
        b'{"ask":"scale","by":null}',
        b'{"ask":"scale","to":"4"}',
        b'{"ask":"drain"}',
        b'{"ask":"stop","soon":1}',
        b'{"ask":"scale","to":true}',
        b'{"ask":"scale","by":false}',
        b'{"ask":"drain","slot":false}',
        b'{"ask":"stop","now":1}',
    ],
)
def test_anything_else_is_refused_and_told_what_would_be_understood(payload: bytes) -> None:
    with pytest.raises(LinkError, match="status, events, reload"):
        c.decode(payload)


def test_a_scale_wish_ends_when_the_workers_are_ready_and_the_surplus_is_gone() -> None:
    story = Story(1)
    story.boot()
    up = c.PendingScale(2)
    (start,) = of(e.StartWorker, story.tell(e.ScaleAsked(to=2)))
    assert up.outcome(story.supervisor) is None
    story.tell(e.WorkerReady(start.worker))
    assert up.outcome(story.supervisor) == c.RequestOutcome(True, "2 workers are ready")

    story.tell(e.ScaleAsked(to=1))
    down = c.PendingScale(1)
    assert down.outcome(story.supervisor) is None
    assert "1 starting or draining" in down.progress(story.supervisor)
    story.tell(e.WorkerExited(start.worker, "exit code 0"))
    assert down.outcome(story.supervisor) == c.RequestOutcome(True, "1 workers are ready")


def test_a_scale_wish_fails_with_the_reason_or_when_another_takes_its_place() -> None:
    story = Story(1)
    story.boot()
    (start,) = of(e.StartWorker, story.tell(e.ScaleAsked(to=2)))
    story.tell(e.WorkerExited(start.worker, "exit code 4"))
    assert c.PendingScale(2).outcome(story.supervisor) == c.RequestOutcome(
        False, "slot 2 cannot be filled: exit code 4"
    )
    assert "overtaken" in str(c.PendingScale(5).outcome(story.supervisor))


def test_a_drain_wish_fails_when_the_successor_cannot_start() -> None:
    story = Story(1)
    (old,) = story.boot()
    wish = c.PendingDrain(old, 1)
    (new,) = of(e.StartWorker, story.tell(e.WorkerWantsToLeave(old, Leaving.RECYCLE, "asked")))
    assert wish.outcome(story.supervisor) is None
    story.tell(e.WorkerExited(new.worker, "exit code 4"))
    verdict = wish.outcome(story.supervisor)
    assert verdict is not None
    assert not verdict.done


def test_a_drain_wish_ends_when_another_worker_serves_there() -> None:
    story = Story(1)
    (old,) = story.boot()
    wish = c.PendingDrain(old, 1)
    (new,) = of(
        e.StartWorker, story.tell(e.WorkerWantsToLeave(old, Leaving.RECYCLE, "asked"), after=60)
    )
    story.tell(e.WorkerExited(old, "killed by SIGKILL"))
    assert wish.outcome(story.supervisor) is None  # gone, but nobody serves there yet
    story.tell(e.WorkerReady(new.worker))
    assert wish.outcome(story.supervisor) == c.RequestOutcome(True, "slot 1 has a new worker")


def test_a_drain_wish_ends_when_its_slot_is_not_needed_any_more() -> None:
    story = Story(2)
    workers = story.boot()
    story.tell(e.WorkerWantsToLeave(workers[1], Leaving.RECYCLE, "asked"))
    story.tell(e.ScaleAsked(to=1))
    verdict = c.PendingDrain(workers[1], 2).outcome(story.supervisor)
    assert verdict == c.RequestOutcome(True, "slot 2 is not needed any more")


def test_no_wish_waits_for_a_worker_that_is_late() -> None:
    story = Story(1, boot_timeout=60.0)
    (old,) = story.boot()
    story.tell(e.WorkerWantsToLeave(old, Leaving.RECYCLE, "asked"))
    story.tell(e.ScaleAsked(to=2))
    wishes = (c.PendingScale(2), c.PendingDrain(old, 1))
    assert [w.outcome(story.supervisor) for w in wishes] == [None, None]
    story.tell(e.Tick(), after=60.0)
    for wish in wishes:
        verdict = wish.outcome(story.supervisor)
        assert verdict is not None
        assert not verdict.done
        assert "is not ready in time" in verdict.text


def test_a_reload_wish_takes_the_verdict_of_a_later_reload() -> None:
    story = Story(1)
    story.boot()
    story.tell(e.ReloadAsked())
    wish = c.PendingReload(2)
    (first,) = [w.id for w in story.supervisor.workers.values() if w.generation == 2]
    story.tell(e.ReloadAsked())
    (third,) = of(e.StartWorker, story.tell(e.WorkerExited(first, "killed by SIGKILL")))
    assert wish.outcome(story.supervisor) is None
    story.tell(e.WorkerReady(third.worker))
    assert wish.outcome(story.supervisor) == c.RequestOutcome(True, "generation 3 is ready")


def test_every_wish_ends_with_the_cluster() -> None:
    story = Story(2)
    workers = story.boot()
    story.tell(e.ReloadAsked())
    story.tell(e.StopAsked(quick=False))
    for wish in (c.PendingReload(2), c.PendingDrain(workers[0], 1)):
        assert wish.outcome(story.supervisor) == c.RequestOutcome(False, "the cluster is stopping")


def test_the_phases_of_a_cluster() -> None:
    story = Story(1)
    seen = [story.supervisor.phase]
    (worker,) = story.boot()
    seen.append(story.supervisor.phase)
    story.tell(e.ReloadAsked())
    seen.append(story.supervisor.phase)
    story.tell(e.StopAsked(quick=False))
    seen.append(story.supervisor.phase)
    assert seen == [Phase.STARTING, Phase.READY, Phase.RELOADING, Phase.STOPPING]
    assert story.supervisor.describe() == "stopping: 0 of 1 workers, generation 2"
    assert worker
