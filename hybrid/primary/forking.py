"""When a script's workers are forked: at once, or after a while if they die young."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable

from hybrid.config import RestartConfig
from hybrid.core.reforking import Reforking
from hybrid.core.restart import YOUNG, RestartPolicy
from hybrid.core.supervision import EXIT_GAVE_UP, EXIT_NEVER_READY
from hybrid.errors import ConfigError, NotInCluster
from hybrid.primary.crew import Crew
from hybrid.primary.forked import ForkedWorker
from hybrid.system.processes import thread_count

logger = logging.getLogger("hybrid.error")


class Forking:
    """Forks the script's workers; `workers` are those that have not exited, by id."""

    def __init__(
        self,
        crew: Crew,
        workers: dict[int, ForkedWorker],
        settings: RestartConfig,
        on_fork: Callable[[ForkedWorker], object],
    ) -> None:
        self._crew, self._workers, self._on_fork = crew, workers, on_fork
        policy = RestartPolicy(settings.intensity, settings.period)
        self._reforking = Reforking(policy, random.Random().random, time.monotonic())
        self._pid = os.getpid()
        self._ever_settled = False
        self._threads = thread_count()  # of those that libraries had started, preload has told

    def check(self) -> None:
        """See whether this process may fork.

        Raises:
            NotInCluster: it is a worker.
            ConfigError: an asyncio loop is running here.
        """
        if os.getpid() != self._pid:
            raise NotInCluster("only the primary forks, and this process is a worker")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise ConfigError("a primary runs no asyncio: its workers would inherit the loop")
        if thread_count() > self._threads:
            self._threads = thread_count()
            logger.warning("forking beside other threads: a lock one holds stays locked for ever")

    def free_slot(self) -> int:
        """Return the smallest slot number that nobody has."""
        taken = {worker.slot for worker in self._workers.values()}
        return next(n for n in range(1, len(taken) + 2) if n not in taken)

    def start(self, worker: ForkedWorker, now: float) -> None:
        """Fork a worker if its slot need not wait; else `start_waiting` does it later.

        Raises:
            OSError: no room for another process.
        """
        if now >= self._reforking.start_at(worker.slot):
            handle = self._crew.start(worker.id, worker.slot, 1, worker.program.main)
            worker.pid, worker.started_at = handle.pid, now
            self._on_fork(worker)

    def start_waiting(self, now: float) -> None:
        """Fork what has waited long enough; nobody is there to be told of an error."""
        for worker in self._waiting():
            try:
                self.start(worker, now)
            except OSError as ex:
                logger.error("cannot fork a worker for slot %d: %s", worker.slot, ex)
                self._reforking.died(worker.slot, young=True, now=now)

    def drop_waiting(self) -> None:
        """Forget those that have not been forked."""
        for worker in self._waiting():
            del self._workers[worker.id]

    def timers(self) -> list[float | None]:
        """Return when `start_waiting` has something to do."""
        return [self._reforking.start_at(worker.slot) for worker in self._waiting()]

    def died(self, worker: ForkedWorker, now: float) -> None:
        """Note a death that nobody has asked for."""
        young = worker.code != 0 and not _is_settled(worker, now)
        self._reforking.died(worker.slot, young, now)

    def gives_up(self, now: float) -> int | None:
        """Return the exit code when workers die young and none lives."""
        if any(_is_settled(worker, now) for worker in self._workers.values()):
            self._ever_settled = True
            self._reforking.was_ready(now)
        elif self._reforking.gives_up(now):
            return EXIT_GAVE_UP if self._ever_settled else EXIT_NEVER_READY
        return None

    def _waiting(self) -> list[ForkedWorker]:
        return [worker for worker in self._workers.values() if worker.pid is None]


def _is_settled(worker: ForkedWorker, now: float) -> bool:
    """Return whether a worker has lived long enough for its death to be bad luck."""
    since = worker.ready_at or worker.started_at
    return worker.pid is not None and now - since >= YOUNG
