"""Who gets the next connection, when the primary accepts and passes it on.

Rule 1: a worker holds at most one connection that it has not acknowledged. So
        a worker whose loop is blocked is skipped by itself, and a connection
        never waits behind another one in a link.
Rule 2: who answered longest ago is asked next (round-robin); or, of those that
        may be asked, the one with the least work (least-loaded).
Rule 3: nothing is lost here: a connection is offered until somebody takes it.
        Whoever refuses rests for a moment, or a full cluster would pass the
        same connection round as fast as it can.
Rule 4: a connection that a worker leaves lying is taken back as soon as
        somebody else is free, and the worker is not asked until it answers.

No clock: times are monotonic seconds and passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

# -- How a new connection finds its worker ---------------------------------------


class Policy(Enum):
    """The scheduling policies; fixed for the life of the cluster."""

    SHARED = "shared"  # every worker accepts on the one listener: who is idle is quickest
    REUSEPORT = "reuseport"  # a listener per slot; the kernel hashes, whoever is busy
    ROUND_ROBIN = "round-robin"  # the primary accepts and passes on, in turn
    LEAST_LOADED = "least-loaded"  # the same, to whoever has least to do


REST = 0.05  # s a worker that refused is left alone; as long as a full one pauses accepting
PATIENCE = 0.05  # s before a connection is taken back; a loop is rarely that late without a fault

Load = Callable[[int], tuple[float, ...]]  # of a worker, by its id; compared


@dataclass(slots=True)
class Receiver:
    """A worker that takes connections."""

    worker: int
    holds: int | None = None  # the connection it has not acknowledged yet
    since: float = 0.0  # when it was given that
    rests_until: float = 0.0
    absent: bool = False  # left one lying; not asked until it shows a sign of life
    given: int = 0  # connections it has taken


class HandoffQueue:
    """The receivers, in the order in which they are asked."""

    def __init__(self, load: Load | None = None) -> None:
        """Choose the least `load`; None: strictly in turn."""
        self._receivers: dict[int, Receiver] = {}  # in order: whoever is asked goes to the end
        self._load = load

    def __len__(self) -> int:
        return len(self._receivers)

    def __contains__(self, worker: int) -> bool:
        return worker in self._receivers

    def join(self, worker: int) -> None:
        """Let a worker take part."""
        self._receivers[worker] = Receiver(worker)

    def leave(self, worker: int) -> int | None:
        """Take a worker out; return the connection it has not acknowledged."""
        receiver = self._receivers.pop(worker, None)
        return receiver.holds if receiver is not None else None

    def choose(self, now: float) -> int | None:
        """Return who is to get the next connection; None: nobody is free."""
        free = [r.worker for r in self._receivers.values() if _is_free(r, now)]
        if not free:
            return None
        return free[0] if self._load is None else min(free, key=self._load)

    def handed(self, worker: int, connection: int, now: float) -> None:
        """Note that a worker was given a connection; it goes to the end of the line."""
        receiver = self._receivers.pop(worker)
        receiver.holds, receiver.since = connection, now
        self._receivers[worker] = receiver

    def taken(self, worker: int, connection: int) -> bool:
        """Note an acknowledgement; return whether it was for what the worker holds."""
        receiver = self._receivers.get(worker)
        if receiver is None or receiver.holds != connection:
            return False
        receiver.holds = None
        receiver.given += 1
        return True

    def refused(self, worker: int, connection: int, now: float) -> bool:
        """Note a refusal; return whether it was for what the worker holds."""
        receiver = self._receivers.get(worker)
        if receiver is None or receiver.holds != connection:
            return False
        receiver.holds, receiver.rests_until = None, now + REST
        return True

    def overdue(self, now: float) -> list[tuple[int, int]]:
        """Return (worker, connection) of those left lying, if another one could take them."""
        if self.choose(now) is None:
            return []
        return [
            (r.worker, r.holds)
            for r in self._receivers.values()
            if r.holds is not None and now - r.since >= PATIENCE
        ]

    def taken_back(self, worker: int) -> None:
        """Note that the primary has the connection back: the worker has not looked."""
        receiver = self._receivers[worker]
        receiver.holds, receiver.absent = None, True

    def returned(self, worker: int) -> None:
        """Note a sign of life."""
        receiver = self._receivers.get(worker)
        if receiver is not None:
            receiver.absent = False

    def given(self, worker: int) -> int:
        """Return how many connections a worker has taken."""
        receiver = self._receivers.get(worker)
        return receiver.given if receiver is not None else 0

    def next_timer(self, now: float) -> float | None:
        """Return when a rest or the patience with somebody ends."""
        receivers = self._receivers.values()
        times = [r.rests_until for r in receivers if r.rests_until > now]
        times += [
            r.since + PATIENCE
            for r in receivers
            if r.holds is not None and r.since + PATIENCE > now
        ]
        return min(times, default=None)


def _is_free(receiver: Receiver, now: float) -> bool:
    return receiver.holds is None and not receiver.absent and now >= receiver.rests_until
