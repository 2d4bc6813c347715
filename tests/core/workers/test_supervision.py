"""Every story of the cluster as a list of events; no process anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from hybrid.core.workers import events as e
from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.phase import TRANSITIONS, Change, Phase, advance_phase
from hybrid.core.workers.restart import RestartPolicy
from hybrid.core.workers.roster import APPLICATION, FUNCTION
from hybrid.core.workers.supervision import Supervisor
from hybrid.errors import IllegalTransition


class Story:
    """A supervisor with its time; collects the actions of each event."""

    def __init__(self, workers: int = 2, **kwargs: Any) -> None:
        self.now = 100.0
        self.supervisor = Supervisor(
            workers,
            grace=kwargs.get("grace", 30.0),
            policy=RestartPolicy(),
            max_surge=kwargs.get("max_surge", 1),
            boot_timeout=kwargs.get("boot_timeout", 0.0),
            most=16,
            jitter=lambda: 1.0,
            now=self.now,
            work=kwargs.get("work", APPLICATION),
        )

    def tell(self, event: e.Event, after: float = 0.0) -> list[e.Action]:
        self.now += after
        return self.supervisor.handle(event, self.now)

    def fork(self, slot: int) -> int:
        """Let a script fork a function into a slot; return the worker."""
        (start,) = of(e.StartWorker, self.tell(e.SlotWanted(slot)))
        return int(start.worker)

    def boot(self) -> list[int]:
        started = [a.worker for a in self.tell(e.Tick()) if isinstance(a, e.StartWorker)]
        for worker in started:
            self.tell(e.WorkerReady(worker))
        return started


def of(kind: type[Any], actions: list[e.Action]) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def test_all_slots_are_filled_at_the_start_and_readiness_is_announced_once() -> None:
    story = Story(3)

    started = of(e.StartWorker, story.tell(e.Tick()))
    announced = [of(e.AllReady, story.tell(e.WorkerReady(s.worker))) for s in started]

    assert [s.slot for s in started] == [1, 2, 3]
    assert announced == [[], [], [e.AllReady(1)]]
    assert of(e.AllReady, story.tell(e.Tick())) == []


def test_a_healthy_worker_that_dies_is_replaced_at_once_in_its_slot() -> None:
    story = Story()
    first, _ = story.boot()

    actions = story.tell(e.WorkerExited(first, "killed by SIGSEGV"), after=60)

    assert [s.slot for s in of(e.StartWorker, actions)] == [1]
    assert "SIGSEGV" in of(e.Log, actions)[0].text


def test_a_worker_that_dies_young_waits_longer_each_time() -> None:
    story = Story(1)
    (worker,) = story.boot()
    waits = []

    for _ in range(4):
        assert of(e.StartWorker, story.tell(e.WorkerExited(worker, "exit code 1"), after=1)) == []
        timer = story.supervisor.next_timer()
        assert timer is not None
        waits.append(timer - story.now)
        (start,) = of(e.StartWorker, story.tell(e.Tick(), after=waits[-1]))
        worker = start.worker
        story.tell(e.WorkerReady(worker))

    assert waits == pytest.approx([0.25, 0.5, 1.0, 2.0])


def test_an_application_that_cannot_be_imported_ends_the_start_with_4_and_one_traceback() -> None:
    story = Story(3)
    started = [s.worker for s in of(e.StartWorker, story.tell(e.Tick()))]

    first = story.tell(e.WorkerFailedToBoot(started[0], "import", "no module shop"))
    second = story.tell(e.WorkerFailedToBoot(started[1], "import", "no module shop"))
    ends = [story.tell(e.WorkerExited(worker, "exit code 4")) for worker in started]

    assert [log.text for log in of(e.Log, first + second)] == ["no module shop"]
    assert {kill.worker for kill in of(e.KillWorker, first)} == set(started)
    assert [of(e.Exit, end) for end in ends] == [[], [], [e.Exit(4)]]


def test_the_primary_gives_up_with_3_when_no_worker_was_ever_ready() -> None:
    story = Story(2)
    codes: list[int] = []

    while not codes and story.now < 200:
        actions = story.tell(e.Tick(), after=0.5)
        while starts := of(e.StartWorker, actions):
            actions = [
                a for s in starts for a in story.tell(e.WorkerExited(s.worker, "exit code 3"))
            ]
        codes = [exit_.code for exit_ in of(e.Exit, actions)]

    assert codes == [3]
    assert 110 <= story.now < 112


def test_the_primary_stays_while_one_worker_is_ready_however_often_another_dies() -> None:
    story = Story(2)
    _, second = story.boot()

    for _ in range(100):
        actions = story.tell(e.Tick(), after=5)
        for start in of(e.StartWorker, actions):
            actions += story.tell(e.WorkerExited(start.worker, "exit code 1"))
        if second in story.supervisor.workers and story.now < 106:
            story.tell(e.WorkerExited(second, "exit code 1"))
        assert not of(e.Exit, actions)


def test_a_stop_makes_one_worker_the_last_acceptor_and_exits_with_0() -> None:
    story = Story(3)
    workers = story.boot()

    drains = of(e.DrainWorker, story.tell(e.StopAsked(quick=False)))
    closed = of(e.CloseListeners, story.tell(e.BacklogEmptied(drains[0].worker)))
    ends = [story.tell(e.WorkerExited(worker, "exit code 0")) for worker in workers]

    assert [drain.final for drain in drains] == [True, False, False]
    assert closed == [e.CloseListeners(drains[0].worker)]
    assert of(e.Exit, ends[-1]) == [e.Exit(0)]
    assert not of(e.CloseListeners, [a for end in ends for a in end])


def test_another_worker_empties_the_backlog_when_the_last_acceptor_dies() -> None:
    story = Story(2)
    story.boot()
    final = next(d for d in of(e.DrainWorker, story.tell(e.StopAsked(quick=False))) if d.final)

    actions = story.tell(e.WorkerExited(final.worker, "killed by SIGKILL"))

    (drain,) = of(e.DrainWorker, actions)
    assert drain.final
    assert drain.worker != final.worker


def test_a_second_stop_kills_everybody_at_once() -> None:
    story = Story(2)
    workers = story.boot()
    story.tell(e.StopAsked(quick=False))

    actions = story.tell(e.StopAsked(quick=False), after=1.0)

    assert {kill.worker for kill in of(e.KillWorker, actions)} == set(workers)


def test_a_worker_that_outlives_its_grace_period_is_killed() -> None:
    story = Story(1, grace=5.0)
    (worker,) = story.boot()
    story.tell(e.StopAsked(quick=False))

    timer = story.supervisor.next_timer()
    assert timer is not None
    actions = story.tell(e.Tick(), after=timer - story.now)

    assert of(e.KillWorker, actions) == [e.KillWorker(worker)]
    assert 5.0 < timer - 100.0 < 10.0


def test_a_reload_replaces_one_worker_at_a_time_and_drains_only_when_the_new_one_is_ready() -> None:
    story = Story(2)
    old = story.boot()

    (first,) = of(e.StartWorker, story.tell(e.ReloadAsked()))
    drained = of(e.DrainWorker, story.tell(e.WorkerReady(first.worker)))
    assert [d.worker for d in drained] == [old[0]]
    assert of(e.StartWorker, story.tell(e.Tick())) == []  # the elder is still there

    (second,) = of(e.StartWorker, story.tell(e.WorkerExited(old[0], "exit code 0")))
    drained = of(e.DrainWorker, story.tell(e.WorkerReady(second.worker)))
    assert [d.worker for d in drained] == [old[1]]
    assert (first.slot, second.slot) == (1, 2)
    assert first.generation == second.generation == 2


def test_a_new_generation_that_cannot_boot_aborts_the_reload() -> None:
    story = Story(2)
    old = story.boot()
    (first,) = of(e.StartWorker, story.tell(e.ReloadAsked()))

    story.tell(e.WorkerFailedToBoot(first.worker, "import", "SyntaxError"))
    actions = story.tell(e.WorkerExited(first.worker, "exit code 4"))
    later = story.tell(e.Tick(), after=60)

    assert any("aborted" in log.text for log in of(e.Log, actions))
    assert not of(e.DrainWorker, actions + later)
    assert not of(e.StartWorker, actions + later)
    assert [story.supervisor.workers[w].state for w in old] == [WorkerState.READY] * 2


def test_a_crash_in_the_middle_of_a_reload_fills_the_slot_with_the_new_generation() -> None:
    story = Story(2)
    old = story.boot()
    (first,) = of(e.StartWorker, story.tell(e.ReloadAsked(), after=60))

    (start,) = of(e.StartWorker, story.tell(e.WorkerExited(old[1], "killed by SIGKILL")))

    assert (start.slot, start.generation) == (2, 2)
    assert first.slot == 1


def test_a_stop_in_the_middle_of_a_reload_kills_the_one_that_is_starting() -> None:
    story = Story(2)
    story.boot()
    (first,) = of(e.StartWorker, story.tell(e.ReloadAsked()))

    actions = story.tell(e.StopAsked(quick=False))

    assert of(e.KillWorker, actions) == [e.KillWorker(first.worker)]
    assert len(of(e.DrainWorker, actions)) == 2


def test_scaling_down_drains_the_highest_slot_and_up_fills_it_again() -> None:
    story = Story(2)
    workers = story.boot()

    assert of(e.DrainWorker, story.tell(e.ScaleAsked(-1)))[0].worker == workers[1]
    story.tell(e.WorkerExited(workers[1], "exit code 0"))
    assert [s.slot for s in of(e.StartWorker, story.tell(e.ScaleAsked(+1)))] == [2]


def test_scaling_stops_at_one_worker() -> None:
    story = Story(1)
    story.boot()

    actions = story.tell(e.ScaleAsked(-1))

    assert not of(e.DrainWorker, actions)
    assert of(e.Log, actions)[0].level == "warning"


def test_a_worker_that_wants_to_leave_gets_its_replacement_first() -> None:
    story = Story(2)
    workers = story.boot()

    (start,) = of(
        e.StartWorker, story.tell(e.WorkerWantsToLeave(workers[1], Leaving.RECYCLE, "max requests"))
    )
    (drain,) = of(e.DrainWorker, story.tell(e.WorkerReady(start.worker)))

    assert (start.slot, drain.worker) == (2, workers[1])


def test_a_replacement_that_died_is_tried_again_when_its_time_has_come() -> None:
    story = Story(2)
    workers = story.boot()
    (start,) = of(
        e.StartWorker, story.tell(e.WorkerWantsToLeave(workers[1], Leaving.RECYCLE, "max requests"))
    )
    story.tell(e.WorkerExited(start.worker, "exit code 3"))

    timer = story.supervisor.next_timer()

    assert timer is not None
    assert timer > story.now
    (again,) = of(e.StartWorker, story.tell(e.Tick(), after=timer - story.now))
    assert again.slot == 2


def test_a_replacement_that_waits_for_room_sets_no_timer() -> None:
    story = Story(2)
    workers = story.boot()

    starts = [
        of(e.StartWorker, story.tell(e.WorkerWantsToLeave(w, Leaving.RECYCLE, "age")))
        for w in workers
    ]

    assert [len(each) for each in starts] == [1, 0]
    assert story.supervisor.next_timer() is None


def test_a_wish_to_leave_during_a_reload_outlives_the_reload() -> None:
    story = Story(1)
    (worker,) = story.boot()
    (new,) = of(e.StartWorker, story.tell(e.ReloadAsked()))
    story.tell(e.WorkerWantsToLeave(worker, Leaving.RECYCLE, "max requests"))

    story.tell(e.WorkerExited(new.worker, "exit code 3"))

    timer = story.supervisor.next_timer()
    assert timer is not None
    (start,) = of(e.StartWorker, story.tell(e.Tick(), after=timer - story.now))
    assert (start.slot, start.generation) == (1, 1)


def test_one_wish_that_arrives_twice_is_not_a_second_one() -> None:
    story = Story(2)
    story.boot()
    story.tell(e.StopAsked(quick=False))

    actions = story.tell(e.StopAsked(quick=False), after=0.01)

    assert not of(e.KillWorker, actions)


def test_replacements_that_are_due_together_come_one_after_the_other() -> None:
    story = Story(4)
    old = story.boot()
    replaced, most = [], 0

    actions = [
        a for w in old for a in story.tell(e.WorkerWantsToLeave(w, Leaving.RECYCLE, "max requests"))
    ]
    while starts := of(e.StartWorker, actions):
        (start,) = starts
        (drain,) = of(e.DrainWorker, story.tell(e.WorkerReady(start.worker)))
        replaced.append(drain.worker)
        most = max(most, len(story.supervisor.workers))
        actions = story.tell(e.WorkerExited(drain.worker, "exit code 0"))

    assert replaced == old
    assert most == 5


def test_with_more_surge_more_of_them_are_replaced_at_once_and_never_more() -> None:
    story = Story(4, max_surge=3)
    story.boot()

    starts = of(e.StartWorker, story.tell(e.ReloadAsked()))

    assert [s.slot for s in starts] == [1, 2, 3]
    assert of(e.StartWorker, story.tell(e.WorkerReady(starts[0].worker))) == []  # its elder drains


def test_a_worker_that_is_late_at_the_start_costs_one_warning_and_no_life() -> None:
    story = Story(2, boot_timeout=60.0)
    first, second = [s.worker for s in of(e.StartWorker, story.tell(e.Tick()))]
    story.tell(e.WorkerReady(first))
    assert story.supervisor.next_timer() == story.now + 60.0

    actions = story.tell(e.Tick(), after=60.0)
    later = story.tell(e.Tick(), after=60.0)

    assert [a.level for a in of(e.Log, actions)] == ["warning"]
    assert not of(e.KillWorker, actions + later)
    assert not of(e.Log, later)
    assert story.supervisor.next_timer() is None
    assert of(e.AllReady, story.tell(e.WorkerReady(second)))


def test_a_cluster_that_stops_does_nothing_else_any_more() -> None:
    assert TRANSITIONS[Phase.STOPPING] == {Change.STOP: Phase.STOPPING}
    with pytest.raises(IllegalTransition, match="FILLED while STOPPING"):
        advance_phase(Phase.STOPPING, Change.FILLED)


def test_a_reload_that_is_aborted_during_the_start_does_not_swallow_its_announcement() -> None:
    story = Story(1)
    story.tell(e.Tick())
    story.tell(e.ReloadAsked())
    (new,) = [w for w in story.supervisor.workers.values() if w.generation == 2]

    actions = story.tell(e.WorkerExited(new.id, "exit code 1"))
    (start,) = of(e.StartWorker, story.tell(e.Tick(), after=1.0))

    assert of(e.ReloadAborted, actions) == [e.ReloadAborted(2)]
    assert of(e.AllReady, story.tell(e.WorkerReady(start.worker))) == [e.AllReady(1)]
    assert story.supervisor.phase is Phase.READY


def test_wishes_are_told_before_what_follows_from_them() -> None:
    story = Story(1)
    story.boot()

    assert story.tell(e.ScaleAsked(+1))[0] == e.Scaled(1, 2)
    assert story.tell(e.ReloadAsked())[0] == e.ReloadBegun(2)
    stop = story.tell(e.StopAsked(quick=False))
    assert of(e.StopBegun, stop) == [e.StopBegun()]
    assert stop.index(e.StopBegun()) < stop.index(of(e.DrainWorker, stop)[0])
    assert of(e.StopBegun, story.tell(e.StopAsked(quick=True))) == []


def test_a_worker_that_drains_already_is_not_kept_by_an_aborted_reload() -> None:
    story = Story(2)
    first, second = story.boot()
    (new,) = of(e.StartWorker, story.tell(e.ReloadAsked()))
    story.tell(e.WorkerReady(new.worker))
    story.tell(e.WorkerExited(second, "killed by SIGKILL"), after=60)
    (failed,) = [w for w in story.supervisor.workers.values() if w.state is WorkerState.STARTING]

    actions = story.tell(e.WorkerExited(failed.id, "exit code 1"))

    assert "0 workers stay as they were" in [x.text for x in of(e.Log, actions)][-1]
    assert story.supervisor.workers[first].asked is Leaving.RELOAD


def test_a_worker_that_there_was_no_room_for_is_tried_again() -> None:
    story = Story(1)
    (start,) = of(e.StartWorker, story.tell(e.Tick()))

    actions = story.tell(e.WorkerNotForked(start.worker, "no free row"))

    assert [log.text for log in of(e.Log, actions)] == [
        "cannot fork a worker for slot 1: no free row"
    ]
    assert of(e.StartWorker, story.tell(e.Tick(), after=1.0))


# -- a script's workers: functions -----------------------------------------------


def script() -> Story:
    return Story(0, work=FUNCTION)


def test_a_slot_of_a_script_is_filled_when_it_is_wanted_and_not_again_by_itself() -> None:
    story = script()
    assert of(e.StartWorker, story.tell(e.Tick())) == []
    worker = story.fork(1)

    actions = story.tell(e.WorkerExited(worker, "killed by SIGKILL"), after=60)
    actions += story.tell(e.Tick(), after=60)

    assert of(e.StartWorker, actions) == []
    assert [log.level for log in of(e.Log, actions)] == ["info"]  # the script hears of it
    assert story.fork(1) != worker


def test_a_function_that_dies_young_is_forked_again_later_each_time() -> None:
    story = script()
    worker, waits = story.fork(1), []
    for _ in range(3):
        story.tell(e.WorkerExited(worker, "exit code 1", 1))
        assert of(e.StartWorker, story.tell(e.SlotWanted(1))) == []
        timer = story.supervisor.next_timer()
        assert timer is not None
        waits.append(timer - story.now)
        (start,) = of(e.StartWorker, story.tell(e.Tick(), after=waits[-1]))
        worker = start.worker

    assert waits == pytest.approx([0.25, 0.5, 1.0])
    assert story.fork(2), "another slot has nothing to do with it"


def test_a_fork_that_waits_can_be_taken_back() -> None:
    story = script()
    story.tell(e.WorkerExited(story.fork(1), "exit code 1", 1))
    story.tell(e.SlotWanted(1))

    story.tell(e.SlotNotWanted(1))

    assert story.supervisor.next_timer() is None
    assert of(e.StartWorker, story.tell(e.Tick(), after=60)) == []


def test_a_function_that_returns_has_not_died() -> None:
    story = script()
    for _ in range(20):
        story.tell(e.WorkerExited(story.fork(1), "exit code 0", 0), after=1.0)

    assert story.fork(1)
    assert not story.supervisor.stopping


def test_functions_that_die_young_end_the_script_with_3() -> None:
    story = script()
    exits: list[Any] = []
    while not exits and story.now < 200:
        starts = of(e.StartWorker, story.tell(e.SlotWanted(1), after=0.5))
        for start in starts:
            exits += of(e.Exit, story.tell(e.WorkerExited(start.worker, "exit code 1", 1)))
        exits += of(e.Exit, story.tell(e.Tick()))

    assert exits == [e.Exit(3)]
    assert 110 <= story.now < 112


def test_a_function_that_computes_proves_that_functions_can_live_here() -> None:
    story = script()
    story.fork(1)  # it never says that it is ready
    for _ in range(100):
        starts = of(e.StartWorker, story.tell(e.SlotWanted(2), after=5.0))
        for start in starts:
            story.tell(e.WorkerExited(start.worker, "exit code 1", 1))
        assert not story.supervisor.stopping


def test_functions_that_are_ready_and_die_young_end_the_script_as_well() -> None:
    story = script()
    exits: list[Any] = []
    while not exits and story.now < 200:
        for start in of(e.StartWorker, story.tell(e.SlotWanted(1), after=0.5)):
            story.tell(e.WorkerReady(start.worker, listening=False))
            story.tell(e.WorkerExited(start.worker, "exit code 1", 1))
        exits += of(e.Exit, story.tell(e.Tick()))

    assert exits == [e.Exit(3)]


def test_a_script_decides_what_an_application_means_that_cannot_be_imported() -> None:
    story = script()
    worker = story.fork(1)

    actions = story.tell(e.WorkerFailedToBoot(worker, "import", "no module shop"))

    assert actions == [e.Log("error", "no module shop")]


@pytest.mark.parametrize("leaving", [Leaving.DISCONNECT, Leaving.TERM, Leaving.RECYCLE])
def test_a_function_that_shall_leave_drains_at_once_also_before_it_is_ready(
    leaving: Leaving,
) -> None:
    story = script()
    worker = story.fork(1)

    (drain,) = of(e.DrainWorker, story.tell(e.WorkerWantsToLeave(worker, leaving)))

    assert (drain.worker, drain.reason) == (worker, leaving.value)
    assert story.supervisor.workers[worker].asked is leaving
    assert story.tell(e.WorkerWantsToLeave(worker, Leaving.DISCONNECT)) == []


def test_a_function_may_be_ready_for_messages_first_and_for_connections_later() -> None:
    story = script()
    worker = story.fork(1)
    story.tell(e.WorkerReady(worker, listening=False))
    assert not story.supervisor.workers[worker].has_listened

    story.tell(e.WorkerReady(worker))

    assert story.supervisor.workers[worker].has_listened


def test_a_stop_of_a_script_kills_nobody_and_the_last_acceptor_is_one_that_listens() -> None:
    story = script()
    computes, takes, listens = story.fork(1), story.fork(2), story.fork(3)
    story.tell(e.WorkerReady(takes, listening=False))
    story.tell(e.WorkerReady(listens))

    actions = story.tell(e.StopAsked(quick=False))

    drains = of(e.DrainWorker, actions)
    assert [(d.worker, d.final) for d in drains] == [
        (computes, False),
        (takes, False),
        (listens, True),
    ]
    assert not of(e.KillWorker, actions)
    assert not of(e.CloseListeners, actions)


def test_without_a_function_that_listens_the_listeners_are_closed_at_once() -> None:
    story = script()
    worker = story.fork(1)

    actions = story.tell(e.StopAsked(quick=False))

    assert of(e.CloseListeners, actions) == [e.CloseListeners(None)]
    end = story.tell(e.WorkerExited(worker, "exit code 0", 0))
    assert end == [e.Exit(0)]


def test_a_function_that_listened_becomes_the_last_acceptor_while_it_drains() -> None:
    story = script()
    worker = story.fork(1)
    story.tell(e.WorkerReady(worker))
    story.tell(e.WorkerWantsToLeave(worker, Leaving.DISCONNECT))

    (drain,) = of(e.DrainWorker, story.tell(e.StopAsked(quick=False)))

    assert drain.final
    assert story.supervisor.workers[worker].asked is Leaving.DISCONNECT


def test_nothing_is_forked_while_a_script_stops() -> None:
    story = script()
    worker = story.fork(1)
    story.tell(e.StopAsked(quick=False))
    again = story.tell(e.StopAsked(quick=False), after=1.0)

    assert of(e.StartWorker, story.tell(e.SlotWanted(2))) == []
    assert of(e.KillWorker, again) == [e.KillWorker(worker)]
    assert story.supervisor.workers[worker].asked is Leaving.STOP
