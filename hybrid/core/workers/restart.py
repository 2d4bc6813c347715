"""When a slot whose worker died is filled again, and when the primary gives up.

The two names and the idea are Erlang/OTP's supervisor flags
(https://www.erlang.org/doc/system/sup_princ.html). What differs: above the
intensity a slot waits longer and longer instead of taking the whole cluster
down, because seven healthy workers are better than none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

YOUNG = 5.0  # s after READY; a death before that is the worker's own fault
FIRST_DELAY = 0.25  # s before the first retry of a slot
LONGEST_DELAY = 15.0  # s; a broken dependency that comes back is noticed soon enough


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Backoff of one slot, and the point of giving up for all of them."""

    intensity: int = 5  # young deaths without a ready worker in between ...
    period: float = 10.0  # ... and seconds without one: only then give up

    def delay(self, failures: int, jitter: Callable[[], float]) -> float:
        """Return the seconds to wait before a slot is filled again.

        Args:
            failures: young deaths of this slot in a row; 0 means that a
                healthy worker died, which is replaced at once.
            jitter: gives numbers in [0, 1). Without it, eight workers that
                lost the same database would come back in step again and again.
        """
        if failures == 0:
            return 0.0
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1))
        return delay * (0.5 + jitter() / 2)


@dataclass(slots=True)
class Slot:
    """A numbered place for a worker; it survives the workers in it."""

    failures: int = 0  # young deaths in a row
    failure: str = ""  # the cause of the last one
    restarts: int = 0  # workers that died here without having been asked to leave
    start_at: float = 0.0  # monotonic s; not filled before


class Restarts:
    """When each slot may be filled again, and when no further try would help."""

    def __init__(self, policy: RestartPolicy, jitter: Callable[[], float], now: float) -> None:
        """Count from `now`; `jitter` gives numbers in [0, 1)."""
        self.policy = policy
        self.slots: dict[int, Slot] = {}  # by number; every slot that has been filled once
        self._jitter = jitter
        self._young_deaths = 0  # since a worker last proved that a worker can live here
        self._began = now
        self._proved_at: float | None = None

    def slot(self, number: int, now: float) -> Slot:
        """Return a slot; a new one may be filled from `now` on."""
        return self.slots.setdefault(number, Slot(start_at=now))

    def note_exit(self, number: int, now: float, *, young: bool, why: str = "") -> float:
        """Let a slot wait before it is filled again; return the seconds.

        A slot whose workers die young waits longer each time. Without that a
        broken import would make the primary fork as fast as it can, and the
        forks would take the CPU from the slots that serve.
        """
        slot = self.slots[number]
        slot.failures = slot.failures + 1 if young else 0
        slot.failure = why
        if young:
            self._young_deaths += 1
        delay = self.policy.delay(slot.failures, self._jitter)
        slot.start_at = now + delay
        return delay

    def forget_failures(self, now: float) -> None:
        """Let every slot be filled at once: a reload may have repaired the cause."""
        for slot in self.slots.values():
            slot.failures, slot.start_at = 0, now

    @property
    def any_proof(self) -> bool:
        """Whether a worker has ever proved that a worker can live here."""
        return self._proved_at is not None

    def note_proof(self, now: float) -> None:
        """Note that a worker proves it at this moment."""
        self._young_deaths, self._proved_at = 0, now

    def gives_up_at(self) -> float | None:
        """Return the monotonic time from which no further try would help; None: try on.

        Both conditions are needed. Eight workers that lose the same database die
        together, and `intensity` alone would end the cluster in that second; the
        `period` alone would end one whose start takes longer than that.
        """
        if self._young_deaths < self.policy.intensity:
            return None
        return (self._began if self._proved_at is None else self._proved_at) + self.policy.period
