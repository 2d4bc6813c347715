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
"""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core import events as e
from hybrid.core.leaving import Leaving
from hybrid.core.lifecycle import Happening, State, advance
from hybrid.core.reloading import Generations
from hybrid.core.restart import YOUNG, RestartPolicy
from hybrid.core.roster import Slot, Worker

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
    ) -> None:
        """Want `workers` of them, at most `most` after scaling; time starts at `now`."""
        self.target = workers
        self.generations = Generations()
        self.stopping = False
        self._stop_asked_at = now
        self._quick = False  # stopping, and everybody has been killed
        self.workers: dict[int, Worker] = {}
        self.most = most
        self._grace = grace
        self._policy = policy
        self._surge = max_surge
        self._boot_timeout = boot_timeout
        self._jitter = jitter
        self.slots: dict[int, Slot] = {}
        self._next_id = 1
        self._ever_ready = False
        self._last_ready = now
        self._deaths = 0  # young deaths since a worker was last ready
        self.was_ready = False  # every slot has had a ready worker, once
        self._announce = True  # AllReady is still owed
        self._exit_code = 0
        self._final: int | None = None  # the last acceptor, while the backlog is not empty
        self._listening = True
        self._shown = ""  # the last boot failure that was logged

    # -- the interface ---------------------------------------------------------

    def handle(self, event: e.Event, now: float) -> list[e.Action]:
        """Take one event; return what follows, in order."""
        actions: list[e.Action] = []
        self._hear_worker(event, now, actions)
        self._hear_wish(event, now, actions)
        self._converge(now, actions)
        return actions

    def _hear_worker(self, event: e.Event, now: float, actions: list[e.Action]) -> None:
        match event:
            case e.WorkerReady(worker):
                self._ready(worker, now, actions)
            case e.WorkerFailedToBoot(worker, kind, text):
                self._failed(worker, kind, text, actions)
            case e.WorkerExited(worker, how):
                self._exited(worker, how, now, actions)
            case e.WorkerWantsToLeave(worker, leaving, text):
                self._wants_to_leave(worker, leaving, text, actions)
            case e.WorkerLeftDistribution(worker):
                self.workers[worker].accepting = False
            case e.BacklogEmptied(worker):
                self._emptied(worker, actions)

    def _hear_wish(self, event: e.Event, now: float, actions: list[e.Action]) -> None:
        match event:
            case e.StopAsked(quick):
                self._stop(quick, now, actions)
            case e.ReloadAsked():
                self._reload(now, actions)
            case e.ScaleAsked(by, to):
                self._scale(self.target + by if to is None else to, actions)

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
                slot.start_at
                for number, slot in self.slots.items()
                if number <= self.target and self._waits_for_its_time(number)
            ]
            if self._deaths >= self._policy.intensity:
                times.append(self._last_ready + self._policy.period)
        return min(times, default=None)

    # -- events ----------------------------------------------------------------

    def _ready(self, worker_id: int, now: float, actions: list[e.Action]) -> None:
        worker = self.workers[worker_id]
        worker.state = advance(worker.state, Happening.READY)
        if worker.state is not State.READY:
            return
        worker.ready_at = now
        self._ever_ready, self._deaths = True, 0
        for elder in self._in_slot(worker.slot):
            if elder.id != worker_id and elder.state is not State.DRAINING:
                self._drain(elder, now, actions)

    def _failed(self, worker_id: int, kind: str, text: str, actions: list[e.Action]) -> None:
        """Show why, once: eight workers fail for the same reason."""
        worker = self.workers[worker_id]
        if worker.state is State.DRAINING:
            return  # discarded: nobody waits for it any more
        worker.failure = text
        if text != self._shown and not self.stopping:
            actions.append(e.Log("error", text))
            self._shown = text
        if kind == "import" and not self._ever_ready:
            self._give_up(EXIT_APP_LOAD, actions)

    def _exited(self, worker_id: int, how: str, now: float, actions: list[e.Action]) -> None:
        worker = self.workers.pop(worker_id)
        before = worker.state
        worker.state = advance(worker.state, Happening.EXIT)
        if self._final == worker_id:
            self._final = None
        if self.stopping:
            return
        if before is State.DRAINING:
            ended = "discarded" if worker.ready_at is None else "drained"
            actions.append(e.Log("info", f"{worker} {ended}: {how}"))
            return
        slot = self.slots[worker.slot]
        young = worker.ready_at is None or now - worker.ready_at < YOUNG
        slot.failures = slot.failures + 1 if young else 0
        slot.failure = worker.failure or how
        slot.restarts += 1
        self._deaths += young
        delay = self._policy.delay(slot.failures, self._jitter)
        slot.start_at = now + delay
        again = f"next try in {delay:.1f} s" if delay else "replacing it"
        stage = "died before it was ready" if worker.ready_at is None else "died"
        actions.append(e.Log("error", f"{worker} {stage}: {how}; {again}"))
        new = self.generations.reloading and worker.generation == self.generations.wanted
        if new and worker.ready_at is None:
            self._abort_reload(worker.failure or f"{worker}: {how}", actions)

    def _wants_to_leave(
        self, worker_id: int, leaving: Leaving, text: str, actions: list[e.Action]
    ) -> None:
        worker = self.workers[worker_id]
        is_new = worker.leaving in (None, Leaving.RELOAD)
        if is_new and worker.state is not State.DRAINING and not self.stopping:
            worker.stay()  # a reload may be aborted, and its reason goes with it; this one remains
            worker.leave(leaving, text)
            actions.append(e.Log("info", f"{worker} will be replaced: {worker.reason}"))

    def _emptied(self, worker_id: int, actions: list[e.Action]) -> None:
        if self._final == worker_id and self._listening:
            self._listening = False
            actions.append(e.CloseListeners(worker_id))

    def _stop(self, quick: bool, now: float, actions: list[e.Action]) -> None:
        if self.stopping and not quick and now - self._stop_asked_at < SAME_STOP:
            return
        if quick or self.stopping:
            actions.append(e.Log("info", f"stopping at once, {len(self.workers)} workers"))
            self._give_up(self._exit_code, actions)
            return
        self.stopping = True
        self._stop_asked_at = now
        actions.append(
            e.Log("info", f"stopping: {len(self.workers)} workers drain, at most {self._grace:g} s")
        )
        starting = [w for w in self.workers.values() if w.state is State.STARTING]
        actions += [e.KillWorker(worker.id) for worker in starting]  # they have nothing to finish

    def _reload(self, now: float, actions: list[e.Action]) -> None:
        if self.stopping:
            return
        for slot in self.slots.values():
            slot.failures, slot.start_at = 0, now  # whatever failed may have been mended
        generation = self.generations.begin()
        self._announce = True
        self._shown = ""
        self._discard_starting(actions)  # they may have read what has changed since
        for worker in self.workers.values():
            if worker.state is State.READY:
                worker.leave(Leaving.RELOAD)
        actions.append(e.Log("info", f"reload: generation {generation} replaces the workers"))

    def _abort_reload(self, why: str, actions: list[e.Action]) -> None:
        """Keep the workers that still serve: they are better than the new ones."""
        failed = self.generations.abort(why)
        self._announce = False
        self._discard_starting(actions)
        ready = [w for w in self.workers.values() if w.state is State.READY]
        kept = [w for w in ready if w.leaving is Leaving.RELOAD]
        for worker in kept:
            worker.stay()
        text = f"reload to generation {failed} aborted: {len(kept)} workers stay as they were"
        actions += [e.Log("error", text), e.ReloadAborted(failed)]

    def _discard_starting(self, actions: list[e.Action]) -> None:
        """Kill who has nothing to finish; the slot is free for another at once."""
        for worker in self.workers.values():
            if worker.state is State.STARTING:
                worker.state = advance(worker.state, Happening.DRAIN)
                worker.leave(Leaving.RELOAD)
                actions.append(e.KillWorker(worker.id))

    def _scale(self, to: int, actions: list[e.Action]) -> None:
        if self.stopping:
            return
        target = min(max(1, to), self.most)
        if target == self.target:
            text = f"{self.target} workers stay: at least 1, at most {self.most} are possible"
            actions.append(e.Log("warning", text))
        else:
            actions.append(e.Log("info", f"scaling from {self.target} to {target} workers"))
            self.target = target

    # -- convergence -----------------------------------------------------------

    def _converge(self, now: float, actions: list[e.Action]) -> None:
        if any(w.state is State.READY for w in self.workers.values()):
            self._last_ready = now
        for worker in self.workers.values():
            if worker.cut_at is not None and now >= worker.cut_at:
                worker.cut_at = None
                actions.append(e.Log("warning", f"{worker} is killed: grace period over"))
                actions.append(e.KillWorker(worker.id))
        self._mind_the_late(now, actions)
        if self.stopping:
            self._converge_to_nothing(now, actions)
        elif self._policy.gives_up(self._deaths, now - self._last_ready):
            code = EXIT_GAVE_UP if self._ever_ready else EXIT_NEVER_READY
            actions.append(
                e.Log("error", f"no worker ready for {self._policy.period:g} s: giving up")
            )
            self._give_up(code, actions)
            self._converge_to_nothing(now, actions)
        else:
            self._fill_slots(now, actions)
            self._replace(now, actions)
            self._remove_surplus(now, actions)
            self._announce_readiness(actions)

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
                if self.generations.reloading and worker.generation == self.generations.wanted:
                    self._abort_reload(text, actions)

    def _is_awaited(self, worker: Worker) -> bool:
        return bool(self._boot_timeout) and worker.state is State.STARTING and not worker.late

    def _converge_to_nothing(self, now: float, actions: list[e.Action]) -> None:
        if not self._quick:
            self._drain_all(now, actions)
        if not self.workers:
            if self._listening:
                self._listening = False
                actions.append(e.CloseListeners(None))
            actions.append(e.Exit(self._exit_code))

    def _drain_all(self, now: float, actions: list[e.Action]) -> None:
        """Drain who serves; make one worker the last acceptor of what still waits."""
        for worker in self.workers.values():
            if worker.state is State.READY:
                self._drain(worker, now, actions, final=self._becomes_final(worker))
        if self._listening and self._final is None:
            # The last acceptor died, or the workers were draining before the stop.
            draining = [w for w in self.workers.values() if w.state is State.DRAINING]
            actions += [
                e.DrainWorker(worker.id, self._grace, final=True, reason=Leaving.STOP.value)
                for worker in draining
                if self._becomes_final(worker)
            ]

    def _becomes_final(self, worker: Worker) -> bool:
        if self._final is None and self._listening:
            self._final = worker.id
            return True
        return False

    def _fill_slots(self, now: float, actions: list[e.Action]) -> None:
        for number in range(1, self.target + 1):
            slot = self.slots.setdefault(number, Slot(start_at=now))
            if not self._serving(number) and now >= slot.start_at:
                self._start(number, now, actions)

    def _replace(self, now: float, actions: list[e.Action]) -> None:
        """Start the next replacement, when there is one to start and room for it."""
        for number in range(1, self.target + 1):
            if len(self.workers) - self.target >= self._surge:
                return
            is_due = now >= self.slots[number].start_at
            if is_due and self._shall_be_replaced(self._serving(number)):
                self._start(number, now, actions)

    def _remove_surplus(self, now: float, actions: list[e.Action]) -> None:
        for worker in list(self.workers.values()):
            if worker.slot > self.target and worker.state is not State.DRAINING:
                self._drain(worker, now, actions)

    def _announce_readiness(self, actions: list[e.Action]) -> None:
        if not self._announce:
            return
        wanted = self.generations.wanted
        ready = {
            w.slot
            for w in self.workers.values()
            if w.state is State.READY and w.generation == wanted
        }
        if ready.issuperset(range(1, self.target + 1)):
            self._announce = False
            self.was_ready = True
            self.generations.finish()
            actions.append(e.AllReady(wanted))

    # -- small steps -----------------------------------------------------------

    def _start(self, slot: int, now: float, actions: list[e.Action]) -> None:
        generation = self.generations.wanted
        worker = Worker(self._next_id, slot, generation, State.STARTING, now)
        self._next_id += 1
        self.workers[worker.id] = worker
        actions.append(e.StartWorker(worker.id, slot, generation))

    def _drain(
        self, worker: Worker, now: float, actions: list[e.Action], final: bool = False
    ) -> None:
        worker.state = advance(worker.state, Happening.DRAIN)
        worker.cut_at = now + self._grace + KILL_MARGIN
        if self.stopping:
            worker.stay()  # whatever else it was to leave for, that is the reason now
        worker.leave(Leaving.STOP if self.stopping else Leaving.SCALE)
        actions.append(e.DrainWorker(worker.id, self._grace, final, worker.reason))

    def _give_up(self, code: int, actions: list[e.Action]) -> None:
        self.stopping = self._quick = True
        self._exit_code = code
        actions += [e.KillWorker(worker_id) for worker_id in self.workers]

    def _waits_for_its_time(self, number: int) -> bool:
        """Return whether only time is in the way of a worker to be started there."""
        serving = self._serving(number)
        has_room = len(self.workers) - self.target < self._surge
        return not serving or (has_room and self._shall_be_replaced(serving))

    @staticmethod
    def _shall_be_replaced(serving: list[Worker]) -> bool:
        """Return whether the workers that serve in a slot are one, and it is to leave."""
        return (
            len(serving) == 1 and serving[0].state is State.READY and serving[0].leaving is not None
        )

    def _in_slot(self, number: int) -> list[Worker]:
        return [w for w in self.workers.values() if w.slot == number]

    def _serving(self, number: int) -> list[Worker]:
        """Return the workers of a slot that serve or will; draining ones do not count."""
        return [w for w in self._in_slot(number) if w.state is not State.DRAINING]
