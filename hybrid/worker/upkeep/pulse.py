"""What a worker with work does ten times a second: its figures, its limits, its memory.

One timer measures the loop's lag and puts the worker's figures on its row of
the scoreboard; on the same tick the worker compares itself with its limits,
gives memory back when little is asked of it, and sheds connections above the mean.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable

from hybrid.config import RestartConfig
from hybrid.core.activity import Activity
from hybrid.core.connections.rebalancing import Balance
from hybrid.core.histogram import Histogram
from hybrid.core.workers.lifecycle import WorkerState
from hybrid.core.workers.recycling import Limits
from hybrid.http.server import HttpServer
from hybrid.pool.pool import Pool
from hybrid.shared_state.current_store import CurrentStore
from hybrid.system.process.heap import give_back
from hybrid.system.process.processes import resident_set_size
from hybrid.system.scoreboard.scoreboard import Row, Scoreboard
from hybrid.system.scoreboard.snapshot import STATES

# -- Closing keep-alive connections above the mean: the worker's half ------------

_READY = STATES.index(WorkerState.READY)


class ConnectionShedder:
    """Closes this worker's excess; some 2 µs per worker of the cluster, once a second."""

    def __init__(self, scoreboard: Scoreboard, server: HttpServer) -> None:
        self._scoreboard, self._server = scoreboard, server
        self._balance = Balance()

    def shed_excess(self, mine: int, now: float) -> None:
        """Close connections if `mine`, those of this worker, exceed the mean of all workers."""
        if not self._balance.is_due(now):
            return
        all_workers = [
            int(row.get("connections"))
            for row in self._scoreboard.rows()
            if row.get("state") == _READY
        ]
        self._server.shed_keepalive(self._balance.excess(mine, all_workers, now))


# -- Limits on a worker's age, requests and memory -------------------------------

_RSS_EVERY = 1.0  # s between two readings of the memory; one costs some 10 µs


class Recycler:
    """Asks once for a replacement, when the first limit is reached."""

    def __init__(self, settings: RestartConfig, leave: Callable[[str], None]) -> None:
        """Call `leave` with the reason. The age counts from now."""
        self._limits = Limits.draw(
            settings.max_requests,
            settings.max_requests_jitter,
            settings.worker_lifetime,
            settings.worker_max_rss,
            random.Random().random,
        )
        self._born, self._leave = time.monotonic(), leave
        self._rss: int | None = None
        self._rss_at = self._born  # the next reading
        self._asked = not self._limits.any

    def check_limits(self, requests: int) -> None:
        """Ask to be replaced if a limit is reached."""
        if self._asked:
            return
        now = time.monotonic()
        if self._limits.rss and now >= self._rss_at:
            self._rss, self._rss_at = self._memory(self._limits.rss), now + _RSS_EVERY
        reason = self._limits.reached(requests, now - self._born, self._rss)
        if reason is not None:
            self._asked = True
            self._leave(reason)

    @staticmethod
    def _memory(limit: int) -> int | None:
        """Return the resident memory; above `limit`, give freed pages back first and read again."""
        memory = resident_set_size(os.getpid())
        if memory is not None and memory > limit and give_back():
            memory = resident_set_size(os.getpid())
        return memory


# -- Giving memory back when there is little work --------------------------------

_TRIM_PERIOD = 5.0  # s
_FEW = 50  # requests in a period: probes and a watcher are not a burst


class HeapTrimmer:
    """Gives freed memory back to the kernel when a burst of requests is over."""

    __slots__ = ("_began", "_give_back", "_is_due", "_seen")

    def __init__(self, act: Callable[[], object] = give_back) -> None:
        self._give_back = act
        self._began = 0.0
        self._seen = 0
        self._is_due = False

    def trim_if_idle(self, requests: int, now: float) -> None:
        """Take the number of requests so far; `now` by any clock in seconds."""
        if now - self._began < _TRIM_PERIOD:
            return
        came = requests - self._seen
        self._began, self._seen = now, requests
        self._is_due = self._is_due or came > 0
        if self._is_due and came <= _FEW:
            self._is_due = False
            self._give_back()


# -- A worker's figures, stored on its row of the scoreboard ---------------------


def publish(row: Row, server: HttpServer | None, pool: Pool | None) -> None:
    """Store the figures of server and pool; a worker that starts has neither. Some 10 µs."""
    if server is not None:
        http = server.statistics()
        row.set("requests", http.requests_total)
        row.set("requests_active", http.requests_active)
        row.set("connections", http.connections)
        row.set("accepted", http.accepted)
        row.set("responses_4xx", http.responses_4xx)
        row.set("responses_5xx", http.responses_5xx)
        row.put_counts("latency", http.latency)
        row.set("latency_total", http.latency_total)
    if pool is not None:
        jobs = pool.statistics()
        row.set("pool_slots", jobs.slots)
        row.set("pool_busy", jobs.busy)
        row.set("pool_queued", jobs.queued)
        row.set("pool_abandoned", jobs.abandoned)
        row.set("pool_abandoned_permits", jobs.abandoned_permits)
        row.set("pool_processes", jobs.processes)
        row.set("queue_wait_total", jobs.queue_wait_total)
        row.set("run_total", jobs.run_total)
        row.set("pool_processes_killed", jobs.killed)
        for outcome, count in jobs.outcomes.items():
            row.set(f"jobs_{outcome.value}", count)


def publish_store(row: Row, store: CurrentStore) -> None:
    """Store how the shared state is doing."""
    access = store.access
    if access.calls:
        row.set("state_calls", access.calls)
        row.set("state_failures", access.failures)
        row.set("state_away", int(access.availability.is_away))


# -- The timer behind all that ---------------------------------------------------------

PERIOD = 0.1  # s between ticks; figures on the scoreboard are at most this old
REST_PERIOD = 2.0  # s between ticks of a worker that has nothing to do
_CALM = 10  # ticks without work until the worker rests
_IN_FLIGHT = ("requests_active", "pool_busy", "pool_queued")  # 0: nothing
_MOVING = ("requests", "accepted", "connections", "pool_processes", "run_total", "state_calls")


class Heartbeat:
    """Ticks on the event loop at fixed times.

    The lag of a tick is how late it came. It is measured against the time the
    tick was *meant* for: measured from the previous tick, a blocked second
    would count once, though every request in that second was late.

    No worker is killed for a late tick: a loop that computes is not dead.

    A worker without work rests: it ticks every two seconds, and with the first request,
    connection or job it ticks as before. Its figures stay right while it rests, because none
    of them changes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        row: Row,
        publish: Callable[[], None],
        activity: Activity,
        on_wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tick from `start` on.

        Args:
            loop: of the worker.
            row: of the worker; its figures say whether there is work.
            publish: stores the figures, called at every tick.
            activity: reports when work comes.
            on_wake: is called when `due` has moved to an earlier time.
            clock: returns seconds. Not the loop's: uvloop's is that of the turn's beginning,
                in whole milliseconds.
        """
        self._loop, self._row, self._publish = loop, row, publish
        self._activity, self._on_wake, self._clock = activity, on_wake, clock
        self._lags = Histogram(row.counts("lag"))
        self.due = 0.0  # monotonic s at which the next tick is meant
        self._handle: asyncio.TimerHandle | None = None
        self._seen: list[float] = []  # the moving figures at the latest tick
        self._calm = 0  # ticks without work

    def start(self) -> None:
        """Tick now, and from now on."""
        self.due = self._clock()
        self._tick()

    def stop(self) -> None:
        """Cancel the next tick."""
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        now = self._clock()
        lag = max(0.0, now - self.due)
        row = self._row
        row.set("lag_last", lag)
        row.add("lag_total", lag)
        self._lags.add(lag)
        if lag > row.get("lag_max"):
            row.set("lag_max", lag)
        self._publish()
        if self._has_work():
            self._calm = 0
        else:
            self._calm += 1
        now = self._clock()
        if self._calm < _CALM:
            self._set(max(self.due + PERIOD, now), now)  # after a long block: no burst of ticks
            return
        self._set(now + REST_PERIOD, now)
        if not self._activity.is_resting:
            self._activity.rest(self._wake)

    def _has_work(self) -> bool:
        row, seen = self._row, self._seen
        self._seen = [row.get(name) for name in _MOVING]
        return self._seen != seen or any(row.get(name) for name in _IN_FLIGHT)

    def _wake(self) -> None:
        """Tick soon: work has come. The watchdog is told before that work can block the loop."""
        self.stop()
        self._calm = 0
        now = self._clock()
        self._set(now + PERIOD, now)
        self._on_wake()

    def _set(self, due: float, now: float) -> None:
        self.due = due
        self._row.set("tick_due", due)
        self._handle = self._loop.call_later(due - now, self._tick)
