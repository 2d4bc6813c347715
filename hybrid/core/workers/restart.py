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
                lost the same database would come back in step, for ever.
        """
        if failures == 0:
            return 0.0
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1))
        return delay * (0.5 + jitter() / 2)


class YoungDeaths:
    """Those since a worker last proved that workers can live here."""

    def __init__(self, now: float) -> None:
        self._count = 0
        self._began = now
        self._proved_at: float | None = None

    @property
    def any_proof(self) -> bool:
        """Whether a worker has ever proved it."""
        return self._proved_at is not None

    def prove(self, now: float) -> None:
        """Note that a worker proves it at this moment."""
        self._count, self._proved_at = 0, now

    def count(self) -> None:
        """Note one."""
        self._count += 1

    def gives_up_at(self, policy: RestartPolicy) -> float | None:
        """Return the monotonic time from which no other try would help; None: try on."""
        if self._count < policy.intensity:
            return None
        return (self._began if self._proved_at is None else self._proved_at) + policy.period
