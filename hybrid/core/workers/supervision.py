"""Which workers there should be, and what to do about the difference.

`Supervisor.handle(event, now)` is the whole interface: it changes the records
and returns the actions that follow. It performs none of them, so every
sequence of events (a crash in the middle of a reload, a second Ctrl-C while
draining) is a list in a test.

     events --> Supervisor --> roster        the records, and the steps that change them
                    |--------> restart       how long a slot waits, when to give up
                    |--------> generations   the reload in progress
                    |--------> slot_filling  while the cluster runs: fill, replace, drain surplus
                    +--------> ending        from the request to stop to the exit code

Rule 1: after every event `_converge` compares what is with what should be.
        No event starts or ends a worker by itself, so no order of events can
        leave a slot empty or fill it twice.
Rule 2: a replacement is ready before its predecessor drains; a reload never
        takes the number of workers below the wanted one.
Rule 3: a worker is dead when `WorkerExited` says so. A slow worker is alive.
Rule 4: a server and a script differ in the rows of `Work`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core.workers import events as e
from hybrid.core.workers.ending import Ending
from hybrid.core.workers.generations import Generations
from hybrid.core.workers.lifecycle import Leaving, WorkerEvent, WorkerState, advance
from hybrid.core.workers.phase import Change, Phase, advance_phase
from hybrid.core.workers.restart import RestartPolicy, Restarts
from hybrid.core.workers.roster import APPLICATION, Roster, Work, WorkerRecord
from hybrid.core.workers.slot_filling import SlotFilling

EXIT_GAVE_UP = 1
EXIT_NEVER_READY = 3
EXIT_APP_LOAD = 4


class Supervisor:
    """The decisions of the primary."""

    def __init__(
        self,
        workers: int,
        *,
        grace: float,
        policy: RestartPolicy,
        max_surge: int,
        boot_timeout: float,
        most: int,
        jitter: Callable[[], float],
        now: float,
        work: Work = APPLICATION,
    ) -> None:
        """Want `workers` of them, at most `most` after scaling; time starts at `now`."""
        self.phase = Phase.STARTING
        self.generations = Generations()
        self.roster = Roster(workers, work, grace)
        self.restarts = Restarts(policy, jitter, now)
        self.most = most
        self._ending = Ending(self.roster)
        self._filling = SlotFilling(self.roster, self.restarts, max_surge)
        self._boot_timeout = boot_timeout
        self._logged_failure = ""  # of a boot; the last one that was logged

    # -- the interface ---------------------------------------------------------

    def handle(self, event: e.Event, now: float) -> list[e.Action]:
        """Take one event; return what follows, in order."""
        actions: list[e.Action] = []
        self._note_proof(now)  # before the event: it may be the death of the worker that proves it
        self._apply(event, now, actions)
        self._converge(now, actions)
        return actions

    def _apply(self, event: e.Event, now: float, actions: list[e.Action]) -> None:  # noqa: C901 - one line an event
        match event:
            case e.WorkerReady(worker, listening):
                self._ready(worker, listening, now, actions)
            case e.WorkerFailedToBoot(worker, kind, text):
                self._failed_to_boot(worker, kind, text, actions)
            case e.WorkerExited(worker, how, code):
                self._exited(worker, how, code, now, actions)
            case e.WorkerNotForked(worker, why):
                self._not_forked(worker, why, now, actions)
            case e.WorkerWantsToLeave(worker, leaving, text):
                self._wants_to_leave(worker, leaving, text, actions)
            case e.WorkerLeftDistribution(worker):
                self.workers[worker].accepting = False
            case e.BacklogEmptied(worker):
                self._ending.note_emptied(worker, actions)
            case e.SlotWanted(slot):
                if not self.stopping:
                    self.roster.wanted.add(slot)
            case e.SlotNotWanted(slot):
                self.roster.wanted.discard(slot)
            case e.StopAsked(quick):
                self._stop(quick, now, actions)
            case e.ReloadAsked():
                self._reload(now, actions)
            case e.ScaleAsked(by, to):
                self._scale(self.target + by if to is None else to, actions)
            case e.Tick():
                pass

    @property
    def workers(self) -> dict[int, WorkerRecord]:
        """The workers that have not been reaped, by id."""
        return self.roster.workers

    @property
    def target(self) -> int:
        """How many workers there should be."""
        return self.roster.target

    @property
    def stopping(self) -> bool:
        """Whether the cluster ends."""
        return self.phase is Phase.STOPPING

    def describe(self) -> str:
        """Return a line such as ``ready: 8 of 8 workers, generation 2``."""
        ready = len(self.roster.in_state(WorkerState.READY))
        return (
            f"{self.phase.value}: {ready} of {self.target} workers, "
            f"generation {self.generations.wanted}"
        )

    def use_settings(
        self, *, grace: float, policy: RestartPolicy, max_surge: int, boot_timeout: float
    ) -> None:
        """Use other settings from now on: the configuration was read again."""
        self.roster.grace, self.restarts.policy = grace, policy
        self._filling.surge, self._boot_timeout = max_surge, boot_timeout

    def next_timer(self) -> float | None:
        """Return the monotonic time of the next decision that no event brings about."""
        workers = self.workers.values()
        times = [w.kill_at for w in workers if w.kill_at is not None]
        times += [w.started_at + self._boot_timeout for w in workers if self._may_be_late(w)]
        if not self.stopping:
            times += self._filling.start_times()
            gives_up_at = self.restarts.gives_up_at()
            times += [gives_up_at] if gives_up_at is not None else []
        return min(times, default=None)

    # -- events of one worker --------------------------------------------------

    def _ready(self, worker_id: int, listening: bool, now: float, actions: list[e.Action]) -> None:
        worker = self.workers[worker_id]
        worker.has_listened = worker.has_listened or listening
        if worker.ready_at is not None:
            return  # a function takes messages first, then connections
        worker.ready_at = now
        worker.state = advance(worker.state, WorkerEvent.READY)
        if worker.state is not WorkerState.READY:
            return
        for predecessor in self.roster.serving(worker.slot):
            if predecessor is not worker:
                self.roster.drain(predecessor, Leaving.SCALE, now, actions)

    def _failed_to_boot(
        self, worker_id: int, kind: str, text: str, actions: list[e.Action]
    ) -> None:
        """Log the reason once: eight workers fail for the same one."""
        worker = self.workers[worker_id]
        if worker.state is WorkerState.DRAINING:
            return  # it has been killed or asked to leave: its failure no longer matters
        worker.failure = text
        if text != self._logged_failure and not self.stopping:
            actions.append(e.Log("error", text))
            self._logged_failure = text
        if kind == "import" and self.roster.work.refills and not self.restarts.any_proof:
            self._give_up(EXIT_APP_LOAD, actions)

    def _exited(
        self, worker_id: int, how: str, code: int | None, now: float, actions: list[e.Action]
    ) -> None:
        was_draining = self.workers[worker_id].state is WorkerState.DRAINING
        worker, work = self.roster.remove(worker_id), self.roster.work
        self._ending.note_exit(worker_id)
        if not work.refills:
            self.roster.wanted.discard(worker.slot)
        if self.stopping:
            return
        if was_draining:
            ended = "discarded" if worker.ready_at is None and work.refills else "drained"
            actions.append(e.Log("info", f"{worker} {ended}: {how}"))
        elif code == 0 and work.may_return:
            self.restarts.note_exit(worker.slot, now, young=False)
            actions.append(e.Log("info", f"{worker} has finished: {how}"))
        else:
            self._died(worker, how, now, actions)

    def _died(self, worker: WorkerRecord, how: str, now: float, actions: list[e.Action]) -> None:
        work, why = self.roster.work, worker.failure or how
        self.restarts.slots[worker.slot].restarts += 1
        young = worker.is_young(work, now)
        delay = self.restarts.note_exit(worker.slot, now, young=young, why=why)
        stage = "died before it was ready" if worker.ready_at is None else "died"
        if work.refills:
            again = f"next try in {delay:.1f} s" if delay else "replacing it"
            actions.append(e.Log("error", f"{worker} {stage}: {how}; {again}"))
        else:  # no error: the script's `exit` callback decides what it means
            actions.append(e.Log("info", f"{worker} {stage}: {how}"))
        if self._is_of_reload(worker) and worker.ready_at is None:
            self._abort_reload(worker.failure or f"{worker}: {how}", actions)

    def _not_forked(self, worker_id: int, why: str, now: float, actions: list[e.Action]) -> None:
        worker = self.roster.remove(worker_id)
        if self.stopping:
            return
        self.restarts.note_exit(worker.slot, now, young=True, why=why)
        actions.append(e.Log("error", f"cannot fork a worker for slot {worker.slot}: {why}"))
        if self._is_of_reload(worker):
            self._abort_reload(f"{worker} was not forked: {why}", actions)

    def _wants_to_leave(
        self, worker_id: int, leaving: Leaving, text: str, actions: list[e.Action]
    ) -> None:
        worker = self.workers[worker_id]
        is_new = worker.leaving in (None, Leaving.RELOAD)
        if not is_new or worker.state is WorkerState.DRAINING or self.stopping:
            return
        worker.stay()  # a reload may be aborted, and its reason is removed then; this one remains
        worker.leave(leaving, text)
        if self.roster.work.refills:
            actions.append(e.Log("info", f"{worker} will be replaced: {worker.reason}"))
        else:
            self.roster.wanted.discard(worker.slot)

    # -- events of the whole cluster -------------------------------------------

    def _stop(self, quick: bool, now: float, actions: list[e.Action]) -> None:
        if self.stopping and not quick and self._ending.is_repeated(now):
            return
        if quick or self.stopping:
            actions.append(e.Log("info", f"stopping at once, {len(self.workers)} workers"))
            self._give_up(self._ending.exit_code, actions)
        else:
            self._change_to_stopping(actions)
            self._ending.begin(now, actions)

    def _give_up(self, exit_code: int, actions: list[e.Action]) -> None:
        """Stop without draining."""
        self._change_to_stopping(actions)
        self._ending.kill_all(exit_code, actions)

    def _change_to_stopping(self, actions: list[e.Action]) -> None:
        if not self.stopping:
            actions.append(e.StopBegun())
        self.phase = advance_phase(self.phase, Change.STOP)

    def _reload(self, now: float, actions: list[e.Action]) -> None:
        if self.stopping:
            return
        self.restarts.forget_failures(now)
        self._logged_failure = ""
        self.phase = advance_phase(self.phase, Change.RELOAD)
        generation = self.generations.begin()
        actions.append(e.ReloadBegun(generation))
        # A worker that still starts may have read files that have changed since.
        self.roster.kill_starting(Leaving.RELOAD, actions)
        for worker in self.roster.in_state(WorkerState.READY):
            worker.leave(Leaving.RELOAD)
        actions.append(e.Log("info", f"reload: generation {generation} replaces the workers"))

    def _abort_reload(self, why: str, actions: list[e.Action]) -> None:
        """Keep the workers that still serve, and kill the new ones that cannot."""
        self.phase = advance_phase(self.phase, Change.ABORT)
        failed = self.generations.abort(why)
        self.roster.kill_starting(Leaving.RELOAD, actions)
        ready = self.roster.in_state(WorkerState.READY)
        kept = [worker for worker in ready if worker.leaving is Leaving.RELOAD]
        for worker in kept:
            worker.stay()
        text = f"reload to generation {failed} aborted: {len(kept)} workers stay as they were"
        actions += [e.Log("error", text), e.ReloadAborted(failed)]

    def _is_of_reload(self, worker: WorkerRecord) -> bool:
        return self.generations.reloading and worker.generation == self.generations.wanted

    def _scale(self, to: int, actions: list[e.Action]) -> None:
        if self.stopping:
            return
        before, target = self.target, min(max(1, to), self.most)
        if target == before:
            text = f"{target} workers stay: at least 1, at most {self.most} are possible"
            actions.append(e.Log("warning", text))
        else:
            self.roster.wanted = set(range(1, target + 1))
            actions.append(e.Scaled(before, target))
            actions.append(e.Log("info", f"scaling from {before} to {target} workers"))

    # -- convergence -----------------------------------------------------------

    def _converge(self, now: float, actions: list[e.Action]) -> None:
        """Do what the records call for, whichever event came.

        Giving up comes before filling slots: otherwise the last event would fork
        workers that the same turn kills, and each would import the application.
        """
        self._note_proof(now)
        self.roster.kill_overdue(now, actions)
        self._warn_of_late_workers(now, actions)
        if not self.stopping:
            self._give_up_if_hopeless(now, actions)
        if self.stopping:
            self._ending.converge(now, actions)
        else:
            self._filling.converge(self.generations.wanted, now, actions)
            self._announce_readiness(actions)

    def _note_proof(self, now: float) -> None:
        if self.roster.proves_itself(now):
            self.restarts.note_proof(now)

    def _give_up_if_hopeless(self, now: float, actions: list[e.Action]) -> None:
        gives_up_at = self.restarts.gives_up_at()
        if gives_up_at is not None and now >= gives_up_at:
            text = f"no worker ready for {self.restarts.policy.period:g} s: giving up"
            actions.append(e.Log("error", text))
            self._give_up(EXIT_GAVE_UP if self.restarts.any_proof else EXIT_NEVER_READY, actions)

    def _warn_of_late_workers(self, now: float, actions: list[e.Action]) -> None:
        """Log each worker that is not ready in time; abort the reload it belongs to.

        At the start a worker that loads for minutes is slow, not dead: it goes on.
        A reload is different: an operator waits for its outcome, and the old
        generation still serves.
        """
        for worker in list(self.workers.values()):
            if self._may_be_late(worker) and now - worker.started_at >= self._boot_timeout:
                worker.late = True
                text = f"{worker} is not ready after {self._boot_timeout:g} s (--boot-timeout)"
                actions.append(e.Log("warning", text))
                if self._is_of_reload(worker):
                    self._abort_reload(text, actions)

    def _may_be_late(self, worker: WorkerRecord) -> bool:
        """Return whether a warning is due when this worker's boot timeout has passed."""
        if not self._boot_timeout or self.roster.work.works_at_once:
            return False
        return worker.state is WorkerState.STARTING and not worker.late

    def _announce_readiness(self, actions: list[e.Action]) -> None:
        if self.phase is Phase.READY:
            return
        wanted = self.generations.wanted
        ready = {
            worker.slot
            for worker in self.roster.in_state(WorkerState.READY)
            if worker.generation == wanted
        }
        if ready and ready >= self.roster.wanted:
            self.phase = advance_phase(self.phase, Change.FILLED)
            self.generations.finish()
            actions.append(e.AllReady(wanted))
