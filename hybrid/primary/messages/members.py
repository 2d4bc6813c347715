"""The workers as members of a cluster: who can be written to, who leads, what they say.

Nothing of the application runs in the primary of ``hybrid serve``: what a
worker sends to it becomes an event for its subscribers, and a request is refused.
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

# -- Leadership, performed: orders to workers, and what happens told to the leader ---


class LeaderElection:
    """Keeps exactly one ready worker leader."""

    def __init__(self, supervisor: Supervisor, tell: Callable[[int, m.Message], None]) -> None:
        self._supervisor = supervisor
        self._tell = tell
        self._leadership = Leadership()

    @property
    def leader(self) -> int | None:
        """Return the leader's id; None while there is none."""
        return self._leadership.leader

    def update(self) -> list[int]:
        """Look at the workers after an event; return who has become the leader."""
        ready = [
            LeaderCandidate(worker.id, worker.leaving is not None)
            for worker in self._supervisor.workers.values()
            if worker.state is WorkerState.READY and not self._supervisor.stopping
        ]
        appointed = []
        for order in self._leadership.update(ready):
            self._tell(order.worker, m.Lead(order.leads))
            if order.leads:
                appointed.append(order.worker)
        return appointed

    def given_up(self, worker: int) -> None:
        """Note a confirmation; the loop's next `update` appoints another one."""
        self._leadership.given_up(worker)

    def gone(self, worker: int) -> None:
        """Note a death."""
        self._leadership.gone(worker)

    def tell(self, announcement: ClusterEvent) -> None:
        """Pass an announcement on to the leader; a subscriber of the announcer."""
        if self.leader is not None and announcement.kind is not EventKind.MESSAGE:
            self._tell(self.leader, m.EventHappened(announcement.as_json()))


class Members:
    """Messages and leadership."""

    def __init__(
        self,
        supervisor: Supervisor,
        processes: ProcessTable,
        tell: Callable[[int, m.Message], None],
        herald: EventLog,
        receive: Callable[[WorkerHandle, m.Mail], None],
    ) -> None:
        """Pass what workers write to the primary to `receive`."""
        self._supervisor = supervisor
        self._processes = processes
        self._herald = herald
        self._leading = LeaderElection(supervisor, tell)
        self.post = MailRouter(processes, self._reachable, tell, receive)
        herald.announcer.subscribers.append(self._leading.tell)

    def take(self, handle: WorkerHandle, message: m.Mail | m.LeadGivenUp) -> None:
        """Take a message of the application, or a leader's confirmation."""
        if isinstance(message, m.Mail):
            self.post.carry(handle, message)
        else:
            self._leading.given_up(handle.id)

    def update_leader(self) -> None:
        """See after every event whether the leader is still the right one."""
        for worker in self._leading.update():
            self._herald.announce(EventKind.LEADER, self._processes.workers.get(worker))

    def forget(self, worker: int) -> None:
        """Note a death."""
        self._leading.gone(worker)

    def _reachable(self) -> list[Addressee]:
        """Return who can get messages, oldest first."""
        leader, handles = self._leading.leader, self._processes.workers
        return [
            Addressee(worker.id, worker.slot, worker.id == leader)
            for worker in self._supervisor.workers.values()
            if worker.is_at_work(self._supervisor.roster.work)
            and worker.id in handles
            and handles[worker.id].is_online
        ]
