"""The lines of the one queue: a line holds the calls that can start under the same conditions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

from hybrid.pool.job import LANES, LaneName


@dataclass(frozen=True, slots=True, eq=False)  # one object per line, see LINES
class QueueLine:
    """Where a call waits, and so what it needs in order to start."""

    lane: LaneName
    needs_permit: bool
    low: bool  # runs only when no call of normal priority could
    index: int  # of the line in AdmissionQueue, which numbers them kind by kind

    @property
    def kind(self) -> int:
        """What AdmissionQueue calls the pair of lines that differ in priority only."""
        return self.index // 2


LINES: dict[tuple[LaneName, bool, bool], QueueLine] = {
    (lane, needs_permit, low): QueueLine(lane, needs_permit, low, index)
    for index, (lane, needs_permit, low) in enumerate(product(LANES, (False, True), (False, True)))
}
KINDS = len(LINES) // 2


def kinds_of(
    lanes: Collection[LaneName] = LANES, needs_permit: Collection[bool] = (False, True)
) -> tuple[int, ...]:
    """Return the kinds of call on these lanes that need a permit, or none, or either."""
    chosen = [
        line.kind
        for line in LINES.values()
        if line.lane in lanes and line.needs_permit in needs_permit
    ]
    return tuple(dict.fromkeys(chosen))
