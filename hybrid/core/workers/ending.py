"""How a cluster ends: every worker drains, the last acceptor empties the backlog, exit.

When a cluster stops, connections wait in the backlog that no worker has
accepted yet. Without a last acceptor the kernel would reset them when the last
listening socket is closed. So one draining worker, the last acceptor, empties
the backlog; then the primary closes its own listening sockets, and the worker,
which now has the last copies, empties the backlog once more and closes them.
"""

from __future__ import annotations

from hybrid.core.workers import events as e
from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.roster import Roster, WorkerRecord

SAME_STOP = 0.3  # s; timeout(1) and `kill` to pid and group deliver one request twice


class Ending:
    """The steps from the request to stop to the exit code. Idle until then."""

    def __init__(self, roster: Roster) -> None:
        self.exit_code = 0
        self._roster = roster
        self._asked_at: float | None = None
        self._acceptor: int | None = None  # the worker that empties the backlog
        self._listeners_are_open = True  # the primary's copies

    def is_repeated(self, now: float) -> bool:
        """Return whether a request to stop is the first one, delivered a second time."""
        return self._asked_at is not None and now - self._asked_at < SAME_STOP

    def begin(self, now: float, actions: list[e.Action]) -> None:
        """Start to stop; `converge` drains the workers."""
        self._asked_at = now
        text = f"{len(self._roster.workers)} workers drain, at most {self._roster.grace:g} s"
        actions.append(e.Log("info", f"stopping: {text}"))
        if not self._roster.work.works_at_once:
            self._roster.kill_starting(Leaving.STOP, actions)

    def kill_all(self, exit_code: int, actions: list[e.Action]) -> None:
        """Kill every worker; connections in the backlog are lost."""
        self.exit_code = exit_code
        for worker in self._roster.workers.values():
            self._roster.kill(worker, Leaving.STOP, actions)
        self._close_listeners(None, actions)

    def converge(self, now: float, actions: list[e.Action]) -> None:
        """Drain what works; exit when every worker has been reaped."""
        workers = self._roster.workers.values()
        for worker in workers:
            if worker.is_at_work(self._roster.work):
                worker.stay()  # a stop takes the place of any other reason
                final = self._appoint_acceptor(worker)
                self._roster.drain(worker, Leaving.STOP, now, actions, final=final)
        # The backlog still needs an acceptor if all workers were draining when the stop
        # came, or if the acceptor has died. A worker that drains can become one.
        actions += [
            e.DrainWorker(worker.id, self._roster.grace, True, Leaving.STOP.value, again=True)
            for worker in self._roster.in_state(WorkerState.DRAINING)
            if self._appoint_acceptor(worker)
        ]
        if not any(worker.has_listened for worker in workers):
            self._close_listeners(None, actions)  # no worker is left that could accept
        if not workers:
            actions.append(e.Exit(self.exit_code))

    def note_emptied(self, worker: int, actions: list[e.Action]) -> None:
        """Close the primary's listening sockets: the last acceptor has emptied the backlog."""
        if self._acceptor == worker:
            self._close_listeners(worker, actions)

    def note_exit(self, worker: int) -> None:
        """Note that a worker was reaped: if it was the acceptor, `converge` appoints another."""
        if self._acceptor == worker:
            self._acceptor = None

    def _appoint_acceptor(self, worker: WorkerRecord) -> bool:
        """Make this worker the last acceptor, if one is needed; return whether it is."""
        is_needed = self._listeners_are_open and self._acceptor is None
        if is_needed and worker.has_listened:
            self._acceptor = worker.id
            return True
        return False

    def _close_listeners(self, worker: int | None, actions: list[e.Action]) -> None:
        if self._listeners_are_open:
            self._listeners_are_open = False
            actions.append(e.CloseListeners(worker))
