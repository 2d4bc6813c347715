"""The workers as members of a cluster: which can get messages, and which one leads.

Nothing of the application runs in the primary of ``hybrid serve``: a message to
it becomes an event for its subscribers, and a request is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core.messages import link_messages as m
from hybrid.core.messages.mail import Addressee
from hybrid.core.workers.cluster_events import ClusterEvent, EventKind
from hybrid.core.workers.leadership import LeaderCandidate, Leadership
from hybrid.core.workers.lifecycle import WorkerState
from hybrid.core.workers.supervision import Supervisor
from hybrid.primary.messages.mail_router import MailRouter
from hybrid.primary.workers.event_log import EventLog
from hybrid.primary.workers.process_table import ProcessTable, WorkerHandle

# -- Leadership: orders to workers, and the cluster's events for the leader -----------


class LeaderElection:
    """Keeps exactly one ready worker leader."""

    def __init__(self, supervisor: Supervisor, send: Callable[[int, m.Message], None]) -> None:
        self._supervisor = supervisor
        self._send = send
        self._leadership = Leadership()

    @property
    def leader(self) -> int | None:
        """Return the leader's id; None while there is none."""
        return self._leadership.leader

    def update(self) -> list[int]:
        """Compare with the ready workers after an event; return those that have become leader."""
        ready = [
            LeaderCandidate(worker.id, worker.leaving is not None)
            for worker in self._supervisor.workers.values()
            if worker.state is WorkerState.READY and not self._supervisor.stopping
        ]
        appointed = []
        for order in self._leadership.update(ready):
            self._send(order.worker, m.Lead(order.leads))
            if order.leads:
                appointed.append(order.worker)
        return appointed

    def note_confirmed(self, worker: int) -> None:
        """Note that a leader has stepped down; the next `update` appoints another one."""
        self._leadership.note_confirmed(worker)

    def note_exit(self, worker: int) -> None:
        """Note that a worker has exited."""
        self._leadership.note_exit(worker)

    def send_event(self, event: ClusterEvent) -> None:
        """Send an event to the leader; a subscriber of the event log's publisher."""
        if self.leader is not None and event.kind is not EventKind.MESSAGE:
            self._send(self.leader, m.EventHappened(event.as_json()))


class Members:
    """Messages between workers, and leadership."""

    def __init__(
        self,
        supervisor: Supervisor,
        processes: ProcessTable,
        send: Callable[[int, m.Message], None],
        event_log: EventLog,
        receive: Callable[[WorkerHandle, m.Mail], None],
    ) -> None:
        """Pass messages of workers to the primary to `receive`."""
        self._supervisor = supervisor
        self._processes = processes
        self._event_log = event_log
        self._leading = LeaderElection(supervisor, send)
        self.router = MailRouter(processes, self._reachable, send, receive)
        event_log.publisher.subscribers.append(self._leading.send_event)

    def handle(self, handle: WorkerHandle, message: m.Mail | m.LeadGivenUp) -> None:
        """Carry a message of the application, or note that a leader has stepped down."""
        if isinstance(message, m.Mail):
            self.router.carry(handle, message)
        else:
            self._leading.note_confirmed(handle.id)

    def update_leader(self) -> None:
        """Appoint another leader if the present one leaves; called after every event."""
        for worker in self._leading.update():
            self._event_log.publish(EventKind.LEADER, self._processes.workers.get(worker))

    def note_exit(self, worker: int) -> None:
        """Note that a worker has exited."""
        self._leading.note_exit(worker)

    def _reachable(self) -> list[Addressee]:
        """Return the workers that can get messages, oldest first."""
        leader, handles = self._leading.leader, self._processes.workers
        return [
            Addressee(worker.id, worker.slot, worker.id == leader)
            for worker in self._supervisor.workers.values()
            if worker.is_at_work(self._supervisor.roster.work)
            and worker.id in handles
            and handles[worker.id].is_online
        ]
