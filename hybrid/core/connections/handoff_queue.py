"""Which worker gets the next connection, when the primary accepts and passes it on.

Rule 1: a worker is offered at most one connection that it has not answered. So
        a worker whose loop is blocked is skipped, and a connection never waits
        behind another one in a link.
Rule 2: the worker that answered longest ago is asked next (round-robin); or, of
        those that may be asked, the one with the least work (least-loaded).
Rule 3: nothing is lost here: a connection is offered until a worker takes it. A
        worker that refuses is not asked for a moment; otherwise a full cluster
        would pass the same connection round as fast as it can.
Rule 4: a connection that a worker does not answer is taken back as soon as
        another worker is free, and the worker is not asked until it answers.

No clock: times are monotonic seconds and passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

# -- How a new connection finds its worker ---------------------------------------


class Policy(Enum):
    """The scheduling policies; fixed for the life of the cluster."""

    SHARED = "shared"  # every worker accepts on the one listener: an idle one is quickest
    REUSEPORT = "reuseport"  # a listener per slot; the kernel hashes, even to a busy one
    ROUND_ROBIN = "round-robin"  # the primary accepts and passes on, in turn
    LEAST_LOADED = "least-loaded"  # the same, to the worker with the least work


PAUSE = 0.05  # s a worker that refused is not asked; as long as a full one pauses accepting
TAKE_BACK_AFTER = 0.05  # s without an answer; a loop is rarely that late without a fault

# Of a worker, by its id and the number of connections it has taken; compared.
Load = Callable[[int, int], tuple[float, ...]]


@dataclass(slots=True)
class Receiver:
    """A worker that takes connections."""

    worker: int
    offered: int | None = None  # the connection it has not answered yet
    offered_at: float = 0.0
    paused_until: float = 0.0
    is_silent: bool = False  # a connection was taken back; not asked until it answers again
    taken: int = 0  # connections


class HandoffQueue:
    """The receivers, in the order in which they are asked."""

    def __init__(self, load: Load | None = None) -> None:
        """Choose the least `load`; None: strictly in turn."""
        self._receivers: dict[int, Receiver] = {}  # in order: one that was asked goes to the end
        self._load = load

    def __contains__(self, worker: int) -> bool:
        return worker in self._receivers

    def join(self, worker: int) -> None:
        """Add a worker to the receivers."""
        self._receivers[worker] = Receiver(worker)

    def leave(self, worker: int) -> int | None:
        """Remove a worker; return the connection that it has not answered."""
        receiver = self._receivers.pop(worker, None)
        return receiver.offered if receiver is not None else None

    def choose(self, now: float) -> int | None:
        """Return the worker to offer the next connection to; None: no worker is free."""
        free = [receiver for receiver in self._receivers.values() if _is_free(receiver, now)]
        if not free:
            return None
        load = self._load
        if load is None:
            return free[0].worker
        return min(free, key=lambda receiver: load(receiver.worker, receiver.taken)).worker

    def note_offered(self, worker: int, connection: int, now: float) -> None:
        """Note that a worker was offered a connection; it goes to the end of the line."""
        receiver = self._receivers.pop(worker)
        receiver.offered, receiver.offered_at = connection, now
        self._receivers[worker] = receiver

    def note_taken(self, worker: int, connection: int) -> None:
        """Note that a worker takes a connection; no effect unless that is the one it was offered.

        An answer can be late: the worker may have left and joined again since.
        """
        receiver = self._receivers.get(worker)
        if receiver is not None and receiver.offered == connection:
            receiver.offered = None
            receiver.taken += 1

    def note_refused(self, worker: int, connection: int, now: float) -> None:
        """Note that a worker refuses a connection; no effect unless it was offered that one."""
        receiver = self._receivers.get(worker)
        if receiver is not None and receiver.offered == connection:
            receiver.offered, receiver.paused_until = None, now + PAUSE

    def overdue(self, now: float) -> list[tuple[int, int]]:
        """Return (worker, connection) of those not answered in time, if another worker is free."""
        if self.choose(now) is None:
            return []
        return [
            (r.worker, r.offered)
            for r in self._receivers.values()
            if r.offered is not None and now - r.offered_at >= TAKE_BACK_AFTER
        ]

    def note_taken_back(self, worker: int) -> None:
        """Note that the primary has the connection back: the worker had not read the offer."""
        receiver = self._receivers[worker]
        receiver.offered, receiver.is_silent = None, True

    def note_alive(self, worker: int) -> None:
        """Note that a silent worker has answered."""
        receiver = self._receivers.get(worker)
        if receiver is not None:
            receiver.is_silent = False

    def next_timer(self, now: float) -> float | None:
        """Return when the next pause, or the time for an answer, ends."""
        receivers = self._receivers.values()
        times = [r.paused_until for r in receivers if r.paused_until > now]
        times += [
            r.offered_at + TAKE_BACK_AFTER
            for r in receivers
            if r.offered is not None and r.offered_at + TAKE_BACK_AFTER > now
        ]
        return min(times, default=None)


def _is_free(receiver: Receiver, now: float) -> bool:
    return receiver.offered is None and not receiver.is_silent and now >= receiver.paused_until
