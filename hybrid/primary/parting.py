"""How a script's workers leave: one, or all of them with nobody's connection lost.

At the end of a cluster one listening worker stays acceptor, empties the
backlog, and then has the last copy of the listeners; see `Supervisor`, where
``hybrid serve`` has the same story with everything that can happen in between.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from hybrid.core import messages as m
from hybrid.core.leaving import Leaving
from hybrid.core.lifecycle import Happening, State, advance
from hybrid.core.supervision import KILL_MARGIN, SAME_STOP
from hybrid.primary.crew import Crew
from hybrid.primary.forked import ForkedWorker

logger = logging.getLogger("hybrid.error")


class Parting:
    """Orders to leave, and SIGKILL for whoever does not."""

    def __init__(self, crew: Crew, workers: Mapping[int, ForkedWorker], grace: float) -> None:
        """Give a worker `grace` seconds."""
        self.has_begun = False  # everybody leaves
        self._crew, self._workers, self._grace = crew, workers, grace
        self._began_at = 0.0
        self._final: int | None = None  # the last acceptor
        self._listening = True

    def ask(
        self,
        worker: ForkedWorker,
        leaving: Leaving,
        now: float,
        text: str = "",
        final: bool = False,
    ) -> bool:
        """Order a worker to leave; return whether that is news."""
        if worker.state not in (State.STARTING, State.READY):
            return False
        worker.state = advance(worker.state, Happening.DRAIN)
        worker.leaving = leaving
        worker.cut_at = now + self._grace + KILL_MARGIN
        self._crew.drain(worker.id, m.Drain(self._grace, final, text or leaving.value))
        return True

    def begin(self, now: float) -> list[ForkedWorker]:
        """Order everybody to leave; return whom that is news for."""
        if self.has_begun:
            return []
        self.has_begun, self._began_at = True, now
        self._crew.stop_accepting()
        listening = [w.id for w in self._workers.values() if w.is_listening]
        fresh = [w for w in self._workers.values() if w.state is not State.DRAINING]
        self._final = next((w.id for w in fresh if w.id in listening), None)
        asked = [w for w in fresh if self.ask(w, Leaving.STOP, now, final=w.id == self._final)]
        self._find_acceptor()
        return asked

    def is_second_wish(self, now: float) -> bool:
        """Return whether somebody who wants the end now has wanted it before.

        One wish may arrive twice: ``timeout(1)`` signals the process and its group.
        """
        return self.has_begun and now - self._began_at >= SAME_STOP

    def at_once(self) -> None:
        """Kill everybody."""
        for worker in self._workers:
            self._crew.children.kill_worker(worker)

    def emptied(self, worker: int) -> None:
        """Note that the last acceptor has taken everything that waited."""
        if worker == self._final and self._listening:
            self._listening = False
            self._crew.close_listeners(worker)

    def gone(self, worker: int) -> None:
        """Note a death; the last acceptor's gives the backlog to another one."""
        if worker == self._final:
            self._final = None
            self._find_acceptor()

    def next_timer(self) -> float | None:
        """Return when somebody has to be killed."""
        times = [w.cut_at for w in self._workers.values() if w.cut_at is not None]
        return min(times, default=None)

    def look(self, now: float) -> None:
        """Kill whose time is over."""
        for worker in self._workers.values():
            if worker.cut_at is not None and now >= worker.cut_at:
                worker.cut_at = None
                logger.warning("%r is killed: grace period over", worker)
                self._crew.children.kill_worker(worker.id)

    def _find_acceptor(self) -> None:
        if not self.has_begun or self._final is not None or not self._listening:
            return
        draining = [w for w in self._workers.values() if w.has_listened]
        if draining:
            self._final = draining[0].id
            self._crew.drain(
                self._final, m.Drain(self._grace, final=True, reason=Leaving.STOP.value)
            )
        else:
            self._listening = False
            self._crew.close_listeners(None)
