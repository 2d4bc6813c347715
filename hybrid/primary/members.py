"""The workers as members of a cluster: who can be written to, and who leads."""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core import messages as m
from hybrid.core.announcements import Kind
from hybrid.core.mail import Member
from hybrid.core.supervision import Supervisor
from hybrid.primary.children import ProcessTable, WorkerHandle
from hybrid.primary.herald import Herald
from hybrid.primary.leading import Leading
from hybrid.primary.post import Post


class Members:
    """Messages and leadership."""

    def __init__(
        self,
        supervisor: Supervisor,
        processes: ProcessTable,
        tell: Callable[[int, m.Message], None],
        herald: Herald,
        receive: Callable[[WorkerHandle, m.Mail], None],
    ) -> None:
        """Pass what workers write to the primary to `receive`."""
        self._supervisor = supervisor
        self._processes = processes
        self._herald = herald
        self._leading = Leading(supervisor, tell)
        self.post = Post(processes, self._reachable, tell, receive)
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
            self._herald.announce(Kind.LEADER, self._processes.workers.get(worker))

    def forget(self, worker: int) -> None:
        """Note a death."""
        self._leading.gone(worker)

    def _reachable(self) -> list[Member]:
        """Return who can get messages, oldest first."""
        leader, handles = self._leading.leader, self._processes.workers
        return [
            Member(worker.id, worker.slot, worker.id == leader)
            for worker in self._supervisor.workers.values()
            if worker.is_at_work(self._supervisor.work)
            and worker.id in handles
            and handles[worker.id].is_online
        ]
