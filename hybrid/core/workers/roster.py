"""The workers there are, the slots that should have one, and the steps that change a worker.

A `WorkerRecord` is what the supervisor knows about one process; `Roster` holds
them all. Only the supervisor and `Ending` call its steps; status, control
socket and a script's primary read.

Rule 1: a step changes a record and appends the action that makes it true. No
        code does only one of the two.
Rule 2: the roster does not decide. Which worker starts, drains or dies, and
        when, is the caller's decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from hybrid.core.workers import events as e
from hybrid.core.workers.lifecycle import Leaving, WorkerEvent, WorkerState, advance
from hybrid.core.workers.restart import YOUNG

KILL_MARGIN = 2.0  # s beyond the grace period: a worker ends by itself, unless it is stuck


@dataclass(frozen=True, slots=True)
class Work:
    """The differences between a server's workers and a script's, in one row.

    A server has a number of slots, and each always has a worker. A script fills a
    slot with a function; when that ends, the slot is free until it forks again.
    """

    refills: bool  # a slot stays wanted when its worker leaves: the supervisor starts another
    works_at_once: bool  # from the fork on; such a worker may never report that it is ready
    may_return: bool  # exit code 0 is its regular end, not a death


#                   refills      works_at_once        may_return
APPLICATION = Work(refills=True, works_at_once=False, may_return=False)
FUNCTION = Work(refills=False, works_at_once=True, may_return=True)


@dataclass(slots=True)
class WorkerRecord:
    """One worker process that has not been reaped."""

    id: int
    slot: int
    generation: int
    state: WorkerState
    started_at: float
    ready_at: float | None = None
    leaving: Leaving | None = None  # why it was asked to leave or will be; None: it stays
    reason: str = ""  # the same in words
    kill_at: float | None = None  # the end of its grace period; set when it drains
    failure: str | None = None  # what it reported about its failed boot
    has_listened: bool = False  # it takes connections, or did until it was asked to leave
    accepting: bool = True  # False: it has confirmed that it takes no more connections
    late: bool = False  # it was not ready in time, and that has been logged

    @property
    def asked(self) -> Leaving | None:
        """Why it has been ordered to leave; None: it has not been."""
        return self.leaving if self.state is WorkerState.DRAINING else None

    def leave(self, leaving: Leaving, text: str = "") -> None:
        """Note why it leaves, unless there is a reason already."""
        if self.leaving is None:
            self.leaving, self.reason = leaving, text or leaving.value

    def stay(self) -> None:
        """Forget why it was to leave."""
        self.leaving, self.reason = None, ""

    def is_at_work(self, work: Work) -> bool:
        """Return whether it may have something to finish: it is ready, or works at once."""
        is_ready = self.state is WorkerState.READY
        return is_ready or (work.works_at_once and self.state is WorkerState.STARTING)

    def is_young(self, work: Work, now: float) -> bool:
        """Return whether its death would be its own fault, not bad luck."""
        since = self.started_at if self.ready_at is None and work.works_at_once else self.ready_at
        return since is None or now - since < YOUNG

    def proves_itself(self, work: Work, now: float) -> bool:
        """Return whether it shows that a worker can live here.

        A server's worker does so when it is ready. A function may never report
        anything: it has to live for `YOUNG` seconds.
        """
        if work.works_at_once:
            return not self.is_young(work, now)
        return self.state is WorkerState.READY

    def __str__(self) -> str:
        """Return its name for a log line."""
        return f"worker slot={self.slot} generation={self.generation}"


class Roster:
    """Every worker that has not been reaped, and the slots that should have one."""

    def __init__(self, slots: int, work: Work, grace: float) -> None:
        """Want a worker in each of the first `slots`; a draining one has `grace` seconds."""
        self.workers: dict[int, WorkerRecord] = {}  # by id, oldest first
        self.wanted = set(range(1, slots + 1))
        self.work = work
        self.grace = grace
        self._next_id = 1

    # -- questions -------------------------------------------------------------

    @property
    def target(self) -> int:
        """How many workers there should be."""
        return len(self.wanted)

    def in_state(self, state: WorkerState) -> list[WorkerRecord]:
        """Return the workers in a state, oldest first."""
        return [worker for worker in self.workers.values() if worker.state is state]

    def in_slot(self, slot: int) -> list[WorkerRecord]:
        """Return the workers of a slot, draining ones included."""
        return [worker for worker in self.workers.values() if worker.slot == slot]

    def serving(self, slot: int) -> list[WorkerRecord]:
        """Return the workers of a slot that serve or will; draining ones do not count."""
        return [w for w in self.in_slot(slot) if w.state is not WorkerState.DRAINING]

    def is_replaceable(self, slot: int) -> bool:
        """Return whether the only worker that serves in a slot is to leave.

        A second one is its replacement and has been started already.
        """
        serving = self.serving(slot)
        return (
            len(serving) == 1
            and serving[0].state is WorkerState.READY
            and serving[0].leaving is not None
        )

    def proves_itself(self, now: float) -> bool:
        """Return whether any worker shows that a worker can live here."""
        return any(worker.proves_itself(self.work, now) for worker in self.workers.values())

    # -- steps -----------------------------------------------------------------

    def start(self, slot: int, generation: int, now: float, actions: list[e.Action]) -> None:
        """Start a worker in a slot."""
        worker = WorkerRecord(self._next_id, slot, generation, WorkerState.STARTING, now)
        self._next_id += 1
        self.workers[worker.id] = worker
        actions.append(e.StartWorker(worker.id, slot, generation))

    def drain(
        self,
        worker: WorkerRecord,
        leaving: Leaving,
        now: float,
        actions: list[e.Action],
        *,
        final: bool = False,
    ) -> None:
        """Ask a worker to leave; `leaving` is why, unless it has a reason already.

        Args:
            worker: it works, or will.
            leaving: why.
            now: monotonic seconds; its grace period begins.
            actions: what to do is appended here.
            final: it is the last acceptor.
        """
        worker.state = advance(worker.state, WorkerEvent.DRAIN)
        worker.kill_at = now + self.grace + KILL_MARGIN
        worker.leave(leaving)
        actions.append(e.DrainWorker(worker.id, self.grace, final, worker.reason))

    def kill(self, worker: WorkerRecord, leaving: Leaving, actions: list[e.Action]) -> None:
        """End a worker at once; its slot is free for another before it has been reaped."""
        worker.state = advance(worker.state, WorkerEvent.DRAIN)
        worker.leave(leaving)
        actions.append(e.KillWorker(worker.id))

    def kill_starting(self, leaving: Leaving, actions: list[e.Action]) -> None:
        """End every worker that is not ready yet: it has nothing to finish."""
        for worker in self.in_state(WorkerState.STARTING):
            self.kill(worker, leaving, actions)

    def kill_overdue(self, now: float, actions: list[e.Action]) -> None:
        """End every worker that still drains after its grace period."""
        for worker in self.workers.values():
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = None
                actions.append(e.Log("warning", f"{worker} is killed: grace period over"))
                actions.append(e.KillWorker(worker.id))

    def remove(self, worker_id: int) -> WorkerRecord:
        """Remove the record of a worker that has exited or was never forked; return it."""
        worker = self.workers.pop(worker_id)
        worker.state = advance(worker.state, WorkerEvent.EXIT)
        return worker
