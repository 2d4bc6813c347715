"""A reload among everything else that can happen, in any order; no process anywhere."""

from __future__ import annotations

import random

import pytest

from hybrid.core.workers import events as e
from hybrid.core.workers.generations import ReloadOutcome
from hybrid.core.workers.lifecycle import Leaving, WorkerState
from tests.core.workers.test_supervision import Story, of


def started(actions: list[e.Action]) -> list[int]:
    return [start.worker for start in of(e.StartWorker, actions)]


def test_an_aborted_reload_names_its_cause_and_returns_to_the_generation_before() -> None:
    story = Story(2)
    old = story.boot()
    (new,) = started(story.tell(e.ReloadAsked(), after=60))

    story.tell(e.WorkerFailedToBoot(new, "import", "SyntaxError: line 3"))
    actions = story.tell(e.WorkerExited(new, "exit code 4"))
    (again,) = of(e.StartWorker, story.tell(e.WorkerExited(old[1], "killed by SIGSEGV")))

    assert of(e.ReloadAborted, actions) == [e.ReloadAborted(2)]
    assert story.supervisor.generations.outcome == ReloadOutcome(2, False, "SyntaxError: line 3")
    assert (again.slot, again.generation) == (2, 1)


def test_the_reload_after_an_aborted_one_has_a_number_of_its_own_and_does_not_wait() -> None:
    story = Story(1)
    story.boot()
    (new,) = started(story.tell(e.ReloadAsked()))
    story.tell(e.WorkerExited(new, "exit code 4"))

    (start,) = of(e.StartWorker, story.tell(e.ReloadAsked(), after=0.01))
    actions = story.tell(e.WorkerReady(start.worker))

    assert start.generation == 3
    assert of(e.AllReady, actions) == [e.AllReady(3)]
    assert story.supervisor.generations.outcome == ReloadOutcome(3, True, "generation 3 is ready")


def test_a_second_reload_during_the_first_starts_over_with_the_newest_code() -> None:
    story = Story(2)
    story.boot()
    (new,) = started(story.tell(e.ReloadAsked()))

    again = story.tell(e.ReloadAsked())
    after = story.tell(e.WorkerExited(new, "killed by SIGKILL"))

    assert of(e.KillWorker, again) == [e.KillWorker(new)]
    assert [s.generation for s in of(e.StartWorker, again + after)] == [3]
    assert not of(e.ReloadAborted, after)


def test_a_slot_added_during_a_reload_belongs_to_the_new_generation() -> None:
    story = Story(2)
    story.boot()
    story.tell(e.ReloadAsked())

    starts = of(e.StartWorker, story.tell(e.ScaleAsked(+1)))

    assert [(s.slot, s.generation) for s in starts] == [(3, 2)]


def test_a_new_worker_that_dies_in_a_slot_without_an_elder_aborts_the_reload_too() -> None:
    story = Story(2)
    old = story.boot()
    story.tell(e.ReloadAsked(), after=60)
    (replacement,) = started(story.tell(e.WorkerExited(old[1], "killed by SIGKILL")))

    actions = story.tell(e.WorkerExited(replacement, "exit code 1"))
    later = story.tell(e.Tick(), after=60)

    assert of(e.ReloadAborted, actions)
    assert [(s.slot, s.generation) for s in of(e.StartWorker, actions + later)] == [(2, 1)]
    assert story.supervisor.workers[old[0]].leaving is None


def test_a_new_generation_that_never_gets_ready_aborts_the_reload() -> None:
    story = Story(2, boot_timeout=60.0)
    old = story.boot()
    (new,) = started(story.tell(e.ReloadAsked(), after=3600))

    assert not of(e.ReloadAborted, story.tell(e.Tick(), after=59.9))
    actions = story.tell(e.Tick(), after=0.1)

    assert of(e.ReloadAborted, actions) == [e.ReloadAborted(2)]
    assert of(e.KillWorker, actions) == [e.KillWorker(new)]
    assert [story.supervisor.workers[w].leaving for w in old] == [None, None]
    outcome = story.supervisor.generations.outcome
    assert outcome is not None
    assert "not ready after 60 s (--boot-timeout)" in outcome.text


def test_workers_of_a_reload_that_was_aborted_elsewhere_are_not_waited_for() -> None:
    story = Story(2, max_surge=2)
    story.boot()
    first, second = started(story.tell(e.ReloadAsked()))

    actions = story.tell(e.WorkerExited(first, "exit code 1"))
    story.tell(e.WorkerFailedToBoot(second, "import", "SyntaxError"))

    assert of(e.KillWorker, actions) == [e.KillWorker(second)]
    assert "SyntaxError" not in [log.text for log in of(e.Log, actions)]


def test_a_worker_that_shall_be_recycled_is_not_forgotten_by_an_aborted_reload() -> None:
    story = Story(2)
    old = story.boot()
    (spare,) = started(story.tell(e.WorkerWantsToLeave(old[1], Leaving.RECYCLE, "1000 requests")))
    story.tell(e.ReloadAsked())
    (new,) = started(story.tell(e.WorkerExited(spare, "killed by SIGKILL")))

    aborted = story.tell(e.WorkerExited(new, "exit code 4"))

    assert of(e.ReloadAborted, aborted)
    assert [story.supervisor.workers[w].leaving for w in old] == [None, Leaving.RECYCLE]


def test_a_recycling_that_never_ends_does_not_keep_a_reload_from_ending() -> None:
    story = Story(1)
    story.boot()
    (new,) = started(story.tell(e.ReloadAsked()))

    ready = story.tell(e.WorkerReady(new))
    story.tell(e.WorkerWantsToLeave(new, Leaving.RECYCLE, "10 requests"))

    assert of(e.AllReady, ready) == [e.AllReady(2)]


def test_a_worker_confirms_that_it_is_out_of_distribution() -> None:
    story = Story(1)
    (old,) = story.boot()
    (new,) = started(story.tell(e.ReloadAsked()))
    story.tell(e.WorkerReady(new))

    story.tell(e.WorkerLeftDistribution(old))

    assert not story.supervisor.workers[old].accepting
    assert story.supervisor.workers[new].accepting


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_in_whatever_order_every_slot_ends_with_one_ready_worker(
    seed: int,
) -> None:
    dice = random.Random(seed)
    story = Story(3, max_surge=dice.choice((1, 2)))
    story.boot()
    wishes = (e.ReloadAsked(), e.ScaleAsked(+1), e.ScaleAsked(-1), e.ScaleAsked(to=3))

    for _ in range(60):
        workers = list(story.supervisor.workers.values())
        ready = [w for w in workers if w.state is WorkerState.READY]
        match dice.randrange(5):
            case 0:
                story.tell(dice.choice(wishes))
            case 1 if workers:
                story.tell(e.WorkerExited(dice.choice(workers).id, "killed by SIGKILL"))
            case 2 if ready:
                story.tell(e.WorkerWantsToLeave(dice.choice(ready).id, Leaving.RECYCLE, "old"))
            case _:
                step(story, dice)

    for _ in range(200):
        story.now += 1.0
        step(story, dice)
    workers = list(story.supervisor.workers.values())
    assert sorted(w.slot for w in workers) == list(range(1, story.supervisor.target + 1))
    assert {(w.state, w.leaving) for w in workers} == {(WorkerState.READY, None)}
    assert not story.supervisor.generations.reloading
    assert len({w.generation for w in workers}) == 1


def step(story: Story, dice: random.Random) -> None:
    """Let one worker do what it is expected to do."""
    workers = list(story.supervisor.workers.values())
    if not workers:
        story.tell(e.Tick())
        return
    worker = dice.choice(workers)
    if worker.state is WorkerState.STARTING:
        story.tell(e.WorkerReady(worker.id))
    elif worker.state is WorkerState.DRAINING:
        story.tell(e.WorkerExited(worker.id, "exit code 0"))
    else:
        story.tell(e.Tick())
