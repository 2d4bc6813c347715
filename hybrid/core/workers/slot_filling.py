"""How slots get their workers while the cluster runs: fill, replace, drain the surplus.

`SlotFilling.converge` starts from the records alone, whatever event came before.
If each event did its own part instead, two that cross (a worker dies while a
reload is about to replace it) would fill a slot twice, or each would leave it
to the other. Empty slots are filled before replacements start, so that
``--max-surge`` never delays lost capacity.
"""

from __future__ import annotations

from collections.abc import Iterator

from hybrid.core.workers import events as e
from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.restart import Restarts
from hybrid.core.workers.roster import Roster


class SlotFilling:
    """The steps from the workers there are to the workers that are wanted."""

    def __init__(self, roster: Roster, restarts: Restarts, surge: int) -> None:
        """Let at most `surge` replacements exist in excess of the wanted workers."""
        self.surge = surge
        self._roster = roster
        self._restarts = restarts

    def converge(self, generation: int, now: float, actions: list[e.Action]) -> None:
        """Bring the workers one step nearer to what is wanted; new ones are of `generation`."""
        for slot in sorted(self._roster.wanted):
            if not self._roster.serving(slot) and self._may_start(slot, now):
                self._roster.start(slot, generation, now, actions)
        for slot in sorted(self._roster.wanted):
            if self._waits_for_replacement(slot) and self._may_start(slot, now):
                self._roster.start(slot, generation, now, actions)
        for worker in self._roster.workers.values():
            if worker.slot not in self._roster.wanted and worker.state is not WorkerState.DRAINING:
                self._roster.drain(worker, Leaving.SCALE, now, actions)

    def start_times(self) -> Iterator[float]:
        """Yield when each slot gets a worker that only its back-off keeps it from now."""
        for slot in self._roster.wanted & self._restarts.slots.keys():
            if not self._roster.serving(slot) or self._waits_for_replacement(slot):
                yield self._restarts.slots[slot].start_at

    def _may_start(self, slot: int, now: float) -> bool:
        return now >= self._restarts.slot(slot, now).start_at

    def _waits_for_replacement(self, slot: int) -> bool:
        """Return whether the worker of a slot is to leave, and there is room for another."""
        has_room = len(self._roster.workers) - self._roster.target < self.surge
        return has_room and self._roster.is_replaceable(slot)
