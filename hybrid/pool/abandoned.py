"""Abandoned work on the thread lane: what it holds while it goes on, and when that is too much.

     withdrawn --> goes on --(grace)--> overdue: a warning names the job
                                           |
                       another job waits in vain for what it holds
                                           v
                         the worker asks to be replaced, then drains

Rule 1: a thread cannot be stopped. Its job counts until it ends, because it does use
        what it holds: a slot of this worker, and mostly a permit of the cluster.
Rule 2: but no other job may starve for it. When one has waited longer than the grace
        (``--cpu-kill-grace``) for what overdue work holds, or has given up waiting,
        the worker asks to be replaced; its exit ends the threads.
Rule 3: a worker that drains ends soon, so it gives the permits of overdue work back at
        once: while it finishes its requests, which may take the whole grace period,
        more jobs run than there are permits, by that number. The same if no replacement
        comes for `PATIENCE` (it cannot start, or others are replaced first).

Costs nothing before a job is abandoned, then one check per grace until all have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from hybrid.pool.call import Call
from hybrid.pool.reporting import PoolObserver

PATIENCE = 30.0  # s from the wish to be replaced until the permits go back anyway
_WARN_EVERY = 60.0  # s between two warnings
_SHORTEST_PERIOD = 0.1  # s between two checks, whatever the grace
_EARLY = 0.005  # s; the timers of event loops may be early by this much


class Holder(Protocol):
    """Has the slots and permits; the dispatcher."""

    slots: int

    def misses_slot(self, before: float, after: float) -> bool:
        """Return whether a job waits for a slot since `before`, or gave up later than `after`."""

    def misses_permit(self, before: float, after: float) -> bool:
        """Return the same for a permit, in the whole cluster."""

    def give_back_permits(self, calls: Sequence[Call]) -> None:
        """Give back what permits `calls` hold; their work goes on."""


class AbandonedWork:
    """Watches the abandoned calls of one pool's threads."""

    def __init__(
        self,
        holder: Holder,
        loop: asyncio.AbstractEventLoop,
        grace: float,
        observer: PoolObserver,
    ) -> None:
        """Watch nothing yet.

        Args:
            holder: has what the calls hold.
            loop: the worker's.
            grace: seconds that abandoned work may go on, and that others may wait for it.
            observer: is warned, and told that this worker should be replaced.
        """
        self._holder, self._loop, self._grace, self._observer = holder, loop, grace, observer
        self._calls: dict[Call, float] = {}  # since when each is abandoned
        self._reported: set[Call] = set()  # of them, in a warning
        self._warned_at = 0.0  # 0: never
        self._asked_at = 0.0  # when the worker asked to be replaced; 0: it has not
        self._is_leaving = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call) -> None:
        """Watch `call`, whose answer is no longer awaited."""
        self._calls[call] = monotonic()
        self._check_later()

    def remove(self, call: Call) -> None:
        """Forget `call`, if it is watched: its work has ended."""
        self._calls.pop(call, None)
        self._reported.discard(call)

    def start_draining(self) -> None:
        """Give back the permits of what is overdue, now and later: this worker drains."""
        self._is_leaving = True
        self._check()

    def close(self) -> None:
        """Watch no more."""
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _check_later(self) -> None:
        if self._timer is None:
            period = max(self._grace, _SHORTEST_PERIOD) + _EARLY
            self._timer = self._loop.call_later(period, self._check_regularly)

    def _check_regularly(self) -> None:
        self._timer = None
        self._check()
        if self._calls:
            self._check_later()

    def _check(self) -> None:
        now = monotonic()
        overdue = [call for call, since in self._calls.items() if now >= since + self._grace]
        if not overdue:
            return
        self._warn(overdue, now)
        is_left_alone = self._asked_at and now - self._asked_at >= PATIENCE
        if self._is_leaving or is_left_alone:
            self._holder.give_back_permits(overdue)
        elif not self._asked_at and self._is_in_the_way(overdue, now):
            said = f"{self._held(overdue)} are held by abandoned jobs ({_names(overdue)})"
            if self._observer.wants_replacement(f"{said}, and other jobs wait for them"):
                self._asked_at = now

    def _is_in_the_way(self, overdue: list[Call], now: float) -> bool:
        before = now - self._grace
        after = min(self._calls[call] for call in overdue) + self._grace
        has_permit = any(call.permit >= 0 for call in overdue)
        return self._holder.misses_slot(before, after) or (
            has_permit and self._holder.misses_permit(before, after)
        )

    def _warn(self, overdue: list[Call], now: float) -> None:
        new = [call for call in overdue if call not in self._reported]
        if not new or (self._warned_at and now - self._warned_at < _WARN_EVERY):
            return
        self._warned_at = now
        self._reported.update(new)
        longest = now - min(self._calls[call] for call in new)
        self._observer.warned(
            f"thread job {_names(new)} goes on {longest:.1f} s after it was given up (its deadline "
            f"passed, or its client left), and a thread cannot be stopped: abandoned jobs hold "
            f"{self._held(overdue)} until they end; on the process lane (without "
            f"releases_gil=True) such a job is killed"
        )

    def _held(self, calls: list[Call]) -> str:
        permits = sum(call.permit >= 0 for call in calls)
        of_cluster = f" and {permits} permit{'s' * (permits > 1)} of the cluster" if permits else ""
        return f"{len(calls)} of {self._holder.slots} slots{of_cluster}"


def _names(calls: list[Call]) -> str:
    return ", ".join(sorted({call.job.name for call in calls}))
