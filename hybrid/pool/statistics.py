"""What a pool can say about itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from hybrid.core.ticket import Outcome


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A snapshot. Counters count since the pool was made; times are seconds."""

    slots: int  # jobs at once
    busy: int  # slots taken, abandoned jobs included
    queued: int  # jobs in line
    abandoned: int  # jobs that were answered without result and still hold a slot
    abandoned_permits: int  # permits of the cluster that those hold
    processes: int  # pool processes that are ready
    threads: int  # pool threads
    oldest_wait: float  # s the oldest job in line has waited
    waiting_since: float  # monotonic s since when it waits; 0.0: the line is empty
    service_rate: float  # jobs per second when saturated; 0.0: unknown
    ok: int
    error: int
    timeout: int
    cancelled: int
    shed: int
    broken: int
    killed: int  # pool processes killed because of their job (counted in timeout, cancelled, too)
    queue_wait_total: float  # s in line, over all jobs that ran
    run_total: float  # s in a slot, over all jobs that ended


@dataclass(slots=True)
class Counters:
    """What the pool counts as it goes."""

    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    killed: int = 0
    queue_wait_total: float = 0.0
    run_total: float = 0.0
