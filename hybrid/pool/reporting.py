"""What the pool says about itself: statistics, and events for an observer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hybrid.core.jobs.ticket import Outcome

# -- What a pool can say about itself --------------------------------------------


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A snapshot. Counters count since the pool was made; times are seconds."""

    slots: int  # jobs at once
    busy: int  # slots taken, abandoned jobs included
    queued: int  # jobs in line
    abandoned: int  # jobs that were answered without result and still hold a slot
    abandoned_permits: int  # permits of the cluster that those hold
    processes: int  # pool processes that are ready
    outcomes: Mapping[Outcome, int]  # how jobs were answered
    killed: int  # pool processes killed because of their job, which counts as timeout or cancelled
    queue_wait_total: float  # s in line, over all jobs that ran
    run_total: float  # s in a slot, over all jobs that ended


@dataclass(slots=True)
class Counters:
    """What the pool counts as it goes."""

    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    killed: int = 0
    queue_wait_total: float = 0.0
    run_total: float = 0.0


logger = logging.getLogger("hybrid.error")


class PoolObserver(Protocol):
    """Is told about events that an operator may want to know. Event-loop thread."""

    def happened(self, event: str, *, expected: bool = False, **facts: object) -> None:
        """Something happened; `event` is a fixed phrase, `facts` its numbers.

        `expected`: it belongs to an ordinary start, and is of interest for debugging only.
        """

    def warned(self, text: str) -> None:
        """Something the application's author should change."""

    def wants_replacement(self, reason: str) -> bool:
        """This worker should be replaced, the new one ready first.

        Returns:
            Whether that is on its way; if not, ask again later.
        """


class LoggingObserver:
    """Writes everything to the log."""

    def happened(self, event: str, *, expected: bool = False, **facts: object) -> None:
        """Log one line, ``key=value``."""
        level = logging.DEBUG if expected else logging.INFO
        logger.log(
            level, "%s %s", event, " ".join(f"{key}={value}" for key, value in facts.items())
        )

    def warned(self, text: str) -> None:
        """Log the advice."""
        logger.warning("%s", text)

    def wants_replacement(self, reason: str) -> bool:
        """Log it; there is no primary here that could replace the worker."""
        logger.warning("this worker should be replaced: %s", reason)
        return True
