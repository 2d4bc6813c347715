"""When a script's wish for another worker is granted, and when nothing helps any more.

A script that forks whenever a worker dies turns one that cannot start into a
core that burns for ever. So the policy of ``hybrid serve`` holds here, too: a
slot whose worker died young waits, longer each time.
"""

from __future__ import annotations

from collections.abc import Callable

from hybrid.core.restart import RestartPolicy
from hybrid.core.roster import Slot


class Reforking:
    """The slots of a script's workers. Pure: time is passed in."""

    def __init__(self, policy: RestartPolicy, jitter: Callable[[], float], now: float) -> None:
        self._policy, self._jitter = policy, jitter
        self._slots: dict[int, Slot] = {}
        self._deaths = 0  # young deaths since a worker was last ready
        self._last_ready = now

    def start_at(self, number: int) -> float:
        """Return the monotonic time before which the slot is not filled."""
        return self._slots.setdefault(number, Slot()).start_at

    def was_ready(self, now: float) -> None:
        """Note that some worker is ready at this moment."""
        self._deaths, self._last_ready = 0, now

    def died(self, number: int, young: bool, now: float) -> None:
        """Note a death that nobody has asked for."""
        slot = self._slots.setdefault(number, Slot())
        slot.failures = slot.failures + 1 if young else 0
        slot.start_at = now + self._policy.delay(slot.failures, self._jitter)
        self._deaths += young

    def gives_up(self, now: float) -> bool:
        """Return whether nothing suggests that another try would help."""
        return self._policy.gives_up(self._deaths, now - self._last_ready)
