"""Which workers there should be, and what to do about the difference.

`Supervisor.handle(event, now)` is the whole interface: it changes the records
and returns the actions that follow. It never does anything itself, so every
story of the cluster (a crash in the middle of a reload, a second Ctrl-C while
draining) is a list of events in a test.

Rule 1: after every event `_converge` compares what is with what should be.
        No event starts or ends a worker by itself, so no order of events can
        leave a slot empty or filled twice.
Rule 2: a replacement is ready before its elder drains; the number of workers
        is never below the wanted one for the sake of a reload.
Rule 3: death is what `WorkerExited` says. Being slow is not dying.
Rule 4: a server and a script differ in the rows of `Work`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core.workers import events as e
from hybrid.core.workers.ending import Ending
from hybrid.core.workers.generations import Generations
from hybrid.core.workers.lifecycle import (
    APPLICATION,
    Leaving,
    Slot,
    Work,
    WorkerEvent,
    WorkerRecord,
    WorkerState,
    advance,
)
from hybrid.core.workers.phase import Change, Phase, advance_phase
from hybrid.core.workers.restart import RestartPolicy, YoungDeaths

EXIT_GAVE_UP = 1
EXIT_NEVER_READY = 3
EXIT_APP_LOAD = 4
SAME_STOP = 0.3  # s; timeout(1) and `kill` to pid and group deliver one wish twice
KILL_MARGIN = 2.0  # s beyond the grace period: a worker ends by itself, unless it is stuck


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
        self.workers: dict[int, WorkerRecord] = {}
        self.slots: dict[int, Slot] = {}
        self.wanted = set(range(1, workers + 1))  # slots that should have a worker
        self.most = most
        self.work = work
        self._grace = grace
        self._policy = policy
        self._surge = max_surge
        self._boot_timeout = boot_timeout
        self._jitter = jitter
        self._next_id = 1
        self._deaths = YoungDeaths(now)
        self._ending = Ending()
        self._stop_asked_at = now
        self._exit_code = 0
        self._shown = ""  # the last boot failure that was logged

    # -- the interface ---------------------------------------------------------

    def handle(self, event: e.Event, now: float) -> list[e.Action]:
        """Take one event; return what follows, in order."""
        actions: list[e.Action] = []
        self._note_proofs(now)  # also of a worker whose death this event is
        self._take(event, now, actions)
        self._converge(now, actions)
        return actions

    def _take(self, event: e.Event, now: float, actions: list[e.Action]) -> None:  # noqa: C901 - one line an event
        match event:
            case e.WorkerReady(worker, listening):
                self._ready(worker, listening, now, actions)
            case e.WorkerFailedToBoot(worker, kind, text):
                self._failed(worker, kind, text, actions)
            case e.WorkerExited(worker, how, code):
                self._exited(worker, how, code, now, actions)
            case e.WorkerNotForked(worker, why):
                self._not_forked(worker, why, now, actions)
            case e.WorkerWantsToLeave(worker, leaving, text):
                self._wants_to_leave(worker, leaving, text, actions)
            case e.WorkerLeftDistribution(worker):
                self.workers[worker].accepting = False
            case e.BacklogEmptied(worker):
                if self._ending.emptied(worker):
                    actions.append(e.CloseListeners(worker))
            case e.SlotWanted(slot):
                self._want(slot)
            case e.SlotNotWanted(slot):
                self.wanted.discard(slot)
            case e.StopAsked(quick):
                self._stop(quick, now, actions)
            case e.ReloadAsked():
                self._reload(now, actions)
            case e.ScaleAsked(by, to):
                self._scale(self.target + by if to is None else to, actions)

    @property
    def target(self) -> int:
        """How many workers should be there."""
        return len(self.wanted)

    @property
    def stopping(self) -> bool:
        """Whether the cluster ends."""
        return self.phase is Phase.STOPPING

    def describe(self) -> str:
        """Return a line such as ``ready: 8 of 8 workers, generation 2``."""
        ready = sum(worker.state is WorkerState.READY for worker in self.workers.values())
        return (
            f"{self.phase.value}: {ready} of {self.target} workers, "
            f"generation {self.generations.wanted}"
        )

    def adopt(
        self, *, grace: float, policy: RestartPolicy, max_surge: int, boot_timeout: float
    ) -> None:
        """Follow other settings from now on; a configuration was read again."""
        self._grace, self._policy, self._surge = grace, policy, max_surge
        self._boot_timeout = boot_timeout

    def next_timer(self) -> float | None:
        """Return the monotonic time of the next thing that only time brings about."""
        workers = self.workers.values()
        times = [w.cut_at for w in workers if w.cut_at is not None]
        times += [w.started_at + self._boot_timeout for w in workers if self._is_awaited(w)]
        if not self.stopping:
            times += [
                self.slots[number].start_at
                for number in self.wanted
                if number in self.slots and self._waits_for_its_time(number)
            ]
            gives_up_at = self._deaths.gives_up_at(self._policy)
            times += [gives_up_at] if gives_up_at is not None else []
        return min(times, default=None)

    # -- events ----------------------------------------------------------------

    def _ready(self, worker_id: int, listening: bool, now: float, actions: list[e.Action]) -> None:
        worker = self.workers[worker_id]
        worker.has_listened = worker.has_listened or listening
        if worker.ready_at is not None:
            return  # a function takes messages first, then connections
        worker.ready_at = now
        worker.state = advance(worker.state, WorkerEvent.READY)
        if worker.state is not WorkerState.READY:
            return
        for elder in self.in_slot(worker.slot):
            if elder.id != worker_id and elder.state is not WorkerState.DRAINING:
                self._drain(elder, now, actions)

    def _failed(self, worker_id: int, kind: str, text: str, actions: list[e.Action]) -> None:
        """Show why, once: eight workers fail for the same reason."""
        worker = self.workers[worker_id]
        if worker.state is WorkerState.DRAINING:
            return  # discarded: nobody waits for it any more
        worker.failure = text
        if text != self._shown and not self.stopping:
            actions.append(e.Log("error", text))
            self._shown = text
        if kind == "import" and self.work.refills and not self._deaths.any_proof:
            self._give_up(EXIT_APP_LOAD, actions)

    def _exited(
        self, worker_id: int, how: str, code: int | None, now: float, actions: list[e.Action]
    ) -> None:
        worker = self.workers.pop(worker_id)
        before = worker.state
        worker.state = advance(worker.state, WorkerEvent.EXIT)
        self._ending.forget(worker_id)
        if not self.work.refills:
            self.wanted.discard(worker.slot)
        if self.stopping:
            return
        if before is WorkerState.DRAINING:
            ended = "discarded" if worker.ready_at is None and self.work.refills else "drained"
            actions.append(e.Log("info", f"{worker} {ended}: {how}"))
        elif code == 0 and self.work.may_return:
            self._back_off(worker.slot, False, "", now)
            actions.append(e.Log("info", f"{worker} has finished: {how}"))
        else:
            self._died(worker, how, now, actions)

    def _died(self, worker: WorkerRecord, how: str, now: float, actions: list[e.Action]) -> None:
        self.slots[worker.slot].restarts += 1
        young = worker.is_young(self.work, now)
        delay = self._back_off(worker.slot, young, worker.failure or how, now)
        stage = "died before it was ready" if worker.ready_at is None else "died"
        if self.work.refills:
            again = f"next try in {delay:.1f} s" if delay else "replacing it"
            actions.append(e.Log("error", f"{worker} {stage}: {how}; {again}"))
        else:
            actions.append(e.Log("info", f"{worker} {stage}: {how}"))  # the script is told
        if self._is_of_reload(worker) and worker.ready_at is None:
            self._abort_reload(worker.failure or f"{worker}: {how}", actions)

    def _not_forked(self, worker_id: int, why: str, now: float, actions: list[e.Action]) -> None:
        worker = self.workers.pop(worker_id)
        worker.state = advance(worker.state, WorkerEvent.EXIT)
        if self.stopping:
            return
        self._back_off(worker.slot, True, why, now)
        actions.append(e.Log("error", f"cannot fork a worker for slot {worker.slot}: {why}"))
        if self._is_of_reload(worker):
            self._abort_reload(f"{worker} was not forked: {why}", actions)

    def _back_off(self, number: int, young: bool, why: str, now: float) -> float:
        """Let a slot wait before it is filled again; return the seconds."""
        slot = self.slots[number]
        slot.failures = slot.failures + 1 if young else 0
        slot.failure = why
        if young:
            self._deaths.count()
        delay = self._policy.delay(slot.failures, self._jitter)
        slot.start_at = now + delay
        return delay

    def _wants_to_leave(
        self, worker_id: int, leaving: Leaving, text: str, actions: list[e.Action]
    ) -> None:
        worker = self.workers[worker_id]
        is_new = worker.leaving in (None, Leaving.RELOAD)
        if not is_new or worker.state is WorkerState.DRAINING or self.stopping:
            return
        worker.stay()  # a reload may be aborted, and its reason goes with it; this one remains
        worker.leave(leaving, text)
        if self.work.refills:
            actions.append(e.Log("info", f"{worker} will be replaced: {worker.reason}"))
        else:
            self.wanted.discard(worker.slot)

    def _want(self, slot: int) -> None:
        if not self.stopping:
            self.wanted.add(slot)

    def _stop(self, quick: bool, now: float, actions: list[e.Action]) -> None:
        if self.stopping and not quick and now - self._stop_asked_at < SAME_STOP:
            return
        if quick or self.stopping:
            actions.append(e.Log("info", f"stopping at once, {len(self.workers)} workers"))
            self._give_up(self._exit_code, actions)
            return
        self._stop_asked_at = now
        actions.append(
            e.Log("info", f"stopping: {len(self.workers)} workers drain, at most {self._grace:g} s")
        )
        self._begin_to_stop(actions)
        if not self.work.works_at_once:
            self._discard_starting(Leaving.STOP, actions)

    def _begin_to_stop(self, actions: list[e.Action]) -> None:
        if not self.stopping:
            actions.append(e.StopBegun())
        self.phase = advance_phase(self.phase, Change.STOP)

    def _reload(self, now: float, actions: list[e.Action]) -> None:
        if self.stopping:
            return
        for slot in self.slots.values():
            slot.failures, slot.start_at = 0, now  # whatever failed may have been mended
        self.phase = advance_phase(self.phase, Change.RELOAD)
        generation = self.generations.begin()
        self._shown = ""
        actions.append(e.ReloadBegun(generation))
        self._discard_starting(Leaving.RELOAD, actions)  # they may have read what has changed since
        for worker in self.workers.values():
            if worker.state is WorkerState.READY:
                worker.leave(Leaving.RELOAD)
        actions.append(e.Log("info", f"reload: generation {generation} replaces the workers"))

    def _abort_reload(self, why: str, actions: list[e.Action]) -> None:
        """Keep the workers that still serve: they are better than the new ones."""
        self.phase = advance_phase(self.phase, Change.ABORT)
        failed = self.generations.abort(why)
        self._discard_starting(Leaving.RELOAD, actions)
        ready = [w for w in self.workers.values() if w.state is WorkerState.READY]
        kept = [w for w in ready if w.leaving is Leaving.RELOAD]
        for worker in kept:
            worker.stay()
        text = f"reload to generation {failed} aborted: {len(kept)} workers stay as they were"
        actions += [e.Log("error", text), e.ReloadAborted(failed)]

    def _is_of_reload(self, worker: WorkerRecord) -> bool:
        return self.generations.reloading and worker.generation == self.generations.wanted

    def _discard_starting(self, leaving: Leaving, actions: list[e.Action]) -> None:
        """Kill who has nothing to finish; the slot is free for another at once."""
        for worker in self.workers.values():
            if worker.state is WorkerState.STARTING:
                self._kill(worker, leaving, actions)

    def _scale(self, to: int, actions: list[e.Action]) -> None:
        if self.stopping:
            return
        before, target = self.target, min(max(1, to), self.most)
        if target == before:
            text = f"{target} workers stay: at least 1, at most {self.most} are possible"
            actions.append(e.Log("warning", text))
        else:
            self.wanted = set(range(1, target + 1))
            actions.append(e.Scaled(before, target))
            actions.append(e.Log("info", f"scaling from {before} to {target} workers"))

    # -- convergence -----------------------------------------------------------

    def _converge(self, now: float, actions: list[e.Action]) -> None:
        self._note_proofs(now)
        for worker in self.workers.values():
            if worker.cut_at is not None and now >= worker.cut_at:
                worker.cut_at = None
                actions.append(e.Log("warning", f"{worker} is killed: grace period over"))
                actions.append(e.KillWorker(worker.id))
        self._mind_the_late(now, actions)
        if not self.stopping:
            self._mind_young_deaths(now, actions)
        if self.stopping:
            self._converge_to_nothing(now, actions)
        else:
            self._fill_slots(now, actions)
            self._replace(now, actions)
            self._remove_surplus(now, actions)
            self._announce_readiness(actions)

    def _note_proofs(self, now: float) -> None:
        if any(worker.proves_itself(self.work, now) for worker in self.workers.values()):
            self._deaths.prove(now)

    def _mind_young_deaths(self, now: float, actions: list[e.Action]) -> None:
        gives_up_at = self._deaths.gives_up_at(self._policy)
        if gives_up_at is not None and now >= gives_up_at:
            text = f"no worker ready for {self._policy.period:g} s: giving up"
            actions.append(e.Log("error", text))
            code = EXIT_GAVE_UP if self._deaths.any_proof else EXIT_NEVER_READY
            self._give_up(code, actions)

    def _mind_the_late(self, now: float, actions: list[e.Action]) -> None:
        """Say who is not ready in time. A reload is given up for that; nothing else is.

        Who loads for minutes at the start is slow, not dead. But somebody waits for
        the outcome of a reload, and there the old generation still serves.
        """
        for worker in list(self.workers.values()):
            if self._is_awaited(worker) and now - worker.started_at >= self._boot_timeout:
                worker.late = True
                text = f"{worker} is not ready after {self._boot_timeout:g} s (--boot-timeout)"
                actions.append(e.Log("warning", text))
                if self._is_of_reload(worker):
                    self._abort_reload(text, actions)

    def _is_awaited(self, worker: WorkerRecord) -> bool:
        if not self._boot_timeout or self.work.works_at_once:
            return False
        return worker.state is WorkerState.STARTING and not worker.late

    def _converge_to_nothing(self, now: float, actions: list[e.Action]) -> None:
        self._drain_all(now, actions)
        if not any(worker.has_listened for worker in self.workers.values()):
            self._close_listeners(actions)  # nobody is left who could accept
        if not self.workers:
            actions.append(e.Exit(self._exit_code))

    def _drain_all(self, now: float, actions: list[e.Action]) -> None:
        """Drain who works; make one worker the last acceptor of what still waits."""
        for worker in self.workers.values():
            if worker.is_at_work(self.work):
                self._drain(worker, now, actions, final=self._ending.appoint(worker))
        # The last acceptor died, or the workers were draining before the stop.
        draining = [w for w in self.workers.values() if w.state is WorkerState.DRAINING]
        actions += [
            e.DrainWorker(worker.id, self._grace, True, Leaving.STOP.value, again=True)
            for worker in draining
            if self._ending.appoint(worker)
        ]

    def _fill_slots(self, now: float, actions: list[e.Action]) -> None:
        for number in sorted(self.wanted):
            slot = self.slots.setdefault(number, Slot(start_at=now))
            if not self._serving(number) and now >= slot.start_at:
                self._start(number, now, actions)

    def _replace(self, now: float, actions: list[e.Action]) -> None:
        """Start the next replacement, when there is one to start and room for it."""
        for number in sorted(self.wanted):
            if len(self.workers) - self.target >= self._surge:
                return
            slot = self.slots.get(number)
            is_due = slot is not None and now >= slot.start_at
            if is_due and self._shall_be_replaced(self._serving(number)):
                self._start(number, now, actions)

    def _remove_surplus(self, now: float, actions: list[e.Action]) -> None:
        for worker in self.workers.values():
            if worker.slot not in self.wanted and worker.state is not WorkerState.DRAINING:
                self._drain(worker, now, actions)

    def _announce_readiness(self, actions: list[e.Action]) -> None:
        if self.phase is Phase.READY:
            return
        wanted = self.generations.wanted
        workers = self.workers.values()
        ready = {w.slot for w in workers if w.state is WorkerState.READY and w.generation == wanted}
        if ready and ready >= self.wanted:
            self.phase = advance_phase(self.phase, Change.FILLED)
            self.generations.finish()
            actions.append(e.AllReady(wanted))

    # -- small steps -----------------------------------------------------------

    def _start(self, slot: int, now: float, actions: list[e.Action]) -> None:
        generation = self.generations.wanted
        worker = WorkerRecord(self._next_id, slot, generation, WorkerState.STARTING, now)
        self._next_id += 1
        self.workers[worker.id] = worker
        actions.append(e.StartWorker(worker.id, slot, generation))

    def _drain(
        self, worker: WorkerRecord, now: float, actions: list[e.Action], final: bool = False
    ) -> None:
        worker.state = advance(worker.state, WorkerEvent.DRAIN)
        worker.cut_at = now + self._grace + KILL_MARGIN
        if self.stopping:
            worker.stay()  # whatever else it was to leave for, that is the reason now
        worker.leave(Leaving.STOP if self.stopping else Leaving.SCALE)
        actions.append(e.DrainWorker(worker.id, self._grace, final, worker.reason))

    def _kill(self, worker: WorkerRecord, leaving: Leaving, actions: list[e.Action]) -> None:
        worker.state = advance(worker.state, WorkerEvent.DRAIN)
        worker.leave(leaving)
        actions.append(e.KillWorker(worker.id))

    def _give_up(self, code: int, actions: list[e.Action]) -> None:
        """Kill everybody; what waits in the backlog is lost."""
        self._begin_to_stop(actions)
        self._exit_code = code
        for worker in self.workers.values():
            self._kill(worker, Leaving.STOP, actions)
        self._close_listeners(actions)

    def _close_listeners(self, actions: list[e.Action]) -> None:
        if self._ending.close():
            actions.append(e.CloseListeners(None))

    def _waits_for_its_time(self, number: int) -> bool:
        """Return whether only time is in the way of a worker to be started there."""
        serving = self._serving(number)
        has_room = len(self.workers) - self.target < self._surge
        return not serving or (has_room and self._shall_be_replaced(serving))

    @staticmethod
    def _shall_be_replaced(serving: list[WorkerRecord]) -> bool:
        """Return whether the workers that serve in a slot are one, and it is to leave."""
        return (
            len(serving) == 1
            and serving[0].state is WorkerState.READY
            and serving[0].leaving is not None
        )

    def in_slot(self, number: int) -> list[WorkerRecord]:
        """Return the workers of a slot, draining ones too."""
        return [w for w in self.workers.values() if w.slot == number]

    def _serving(self, number: int) -> list[WorkerRecord]:
        """Return the workers of a slot that serve or will; draining ones do not count."""
        return [w for w in self.in_slot(number) if w.state is not WorkerState.DRAINING]
