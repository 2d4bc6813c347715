"""Leadership, performed: orders to workers, and what happens told to the leader."""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core import messages as m
from hybrid.core.announcements import Announcement, Kind
from hybrid.core.leadership import Candidate, Leadership
from hybrid.core.lifecycle import State
from hybrid.core.supervision import Supervisor


class Leading:
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
            Candidate(worker.id, worker.leaving is not None)
            for worker in self._supervisor.workers.values()
            if worker.state is State.READY and not self._supervisor.stopping
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

    def tell(self, announcement: Announcement) -> None:
        """Pass an announcement on to the leader; a subscriber of the announcer."""
        if self.leader is not None and announcement.kind is not Kind.MESSAGE:
            self._tell(self.leader, m.Told(announcement.as_json()))
