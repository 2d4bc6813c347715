"""Accepting in the primary and passing connections on (round-robin, least-loaded).

     backlog --> accept --> offer to a worker --> "taken": close our copy
                   |             |                "refused", or the worker died:
                   |             |                offer it to the next one
                   |             +-- not read: take it back, offer it to the next one
                   +-- only while a worker is free: else connections wait in the backlog

`hybrid.core.connections.handoff_queue` decides. The primary's copy stays open until
the worker has answered that it takes the connection, which it does before its
first read: so at any moment at most one process has read from the connection,
and a worker that dies in between loses nothing.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from hybrid.core.connections.handoff_queue import HandoffQueue, Policy
from hybrid.primary.connections.listening import Listening
from hybrid.system.scoreboard.scoreboard import Scoreboard
from hybrid.system.sockets.handoff_socket import ARE_YOU_THERE, HandoverPair
from hybrid.system.sockets.listeners import BACK_OFF, accept

logger = logging.getLogger("hybrid.error")


def make_distributor(
    listening: Listening,
    selector: selectors.BaseSelector,
    row_of: Callable[[int], int],
    scoreboard: Scoreboard,
) -> ConnectionDistributor:
    """Return one for the cluster's policy; where workers accept, it has nothing to do."""
    if listening.policy is Policy.LEAST_LOADED:
        queue = make_least_loaded_queue(row_of, scoreboard)
    else:
        queue = HandoffQueue()
    return ConnectionDistributor(listening.all() if listening.handed_over else [], selector, queue)


def make_least_loaded_queue(row_of: Callable[[int], int], scoreboard: Scoreboard) -> HandoffQueue:
    """Return a queue that chooses the worker with the least work, by the scoreboard.

    A row is up to 0.1 s old. Connections that a worker has taken since then are
    counted on top; otherwise a whole burst would go to one worker.
    """

    def load(worker: int, taken: int) -> tuple[float, float]:
        row = scoreboard.row(row_of(worker))
        unseen = max(0.0, taken - row.get("accepted"))
        busy = row.get("requests_active") + row.get("pool_queued")
        return busy + unseen, row.get("connections") + unseen

    return HandoffQueue(load)


class ConnectionDistributor:
    """Takes connections from the listeners and finds a worker for each."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        queue: HandoffQueue,
    ) -> None:
        self._listeners = list(listeners)
        self._selector = selector
        self._queue = queue
        self._pairs: dict[int, HandoverPair] = {}  # by worker id
        self._offered: dict[int, socket.socket] = {}  # by number; our copies
        self._waiting: deque[socket.socket] = deque()  # accepted; no worker has taken them yet
        self._next_number = ARE_YOU_THERE + 1
        self._is_watching = False  # the listeners
        self._is_accepting = True
        self._back_off_until = 0.0

    # -- which workers take part ---------------------------------------------------

    def join(self, worker: int, pair: HandoverPair | None) -> None:
        """Offer connections to a worker from now on, unless it accepts by itself."""
        if pair is None:
            return
        self._pairs[worker] = pair
        self._queue.join(worker)
        self._selector.register(pair, selectors.EVENT_READ, lambda: self._on_readable(worker))
        self.distribute()

    def leave(self, worker: int, dead: bool = False) -> None:
        """Offer nothing more to a worker; one that is not `dead` may take what it was offered.

        The connection that it has not answered must end in exactly one place. If the
        worker has taken it and its answer was not read first, it would be offered
        again, and two processes would read one request. If the worker is alive and
        the offer was dropped here, no process would ever answer the client. So:
        answers that have arrived come first; then a dead worker's offer goes to the
        next one; a living worker's offer does so only if it can be read back from
        its socket. If not, the worker has read it, and its answer arrives later.
        """
        pair = self._pairs.get(worker)
        if pair is None:
            return
        for number, taken in pair.verdicts():
            self._on_answer(worker, number, taken)
        if dead:
            self._selector.unregister(pair)
            del self._pairs[worker]
            self._offer_again(self._queue.leave(worker))
        elif worker in self._queue:
            unanswered = self._queue.leave(worker)
            if unanswered is not None and pair.take_back():
                self._offer_again(unanswered)
        self.distribute()

    def keep_last(self, worker: int) -> None:
        """Go on offering to this worker though it drains: no other one is left."""
        if worker in self._pairs and worker not in self._queue:
            self._queue.join(worker)
        self.distribute()

    def stop_accepting(self) -> None:
        """Leave new connections in the backlog, for the last acceptor."""
        self._is_accepting = False
        self._unwatch()

    def close(self) -> None:
        """Close every descriptor; connections that no worker has taken are lost."""
        self.stop_accepting()
        for worker in list(self._pairs):
            self.leave(worker, dead=True)
        for sock in (*self._waiting, *self._offered.values()):
            sock.close()
        self._waiting.clear()
        self._offered.clear()

    def sockets(self) -> list[socket.socket]:
        """Return the connections held here: a forked child must forget them."""
        return [*self._waiting, *self._offered.values()]

    # -- what came -------------------------------------------------------------------

    def _on_listener(self, listener: socket.socket) -> None:
        while (worker := self._queue.choose(time.monotonic())) is not None:
            try:
                sock = accept(listener)
            except OSError as ex:
                logger.warning("not accepting for %g s: %s", BACK_OFF, ex.strerror)
                self._back_off_until = time.monotonic() + BACK_OFF
                self._unwatch()
                return
            if sock is None:
                return
            self._offer(worker, sock)
        self._unwatch()  # no worker is free

    def _on_readable(self, worker: int) -> None:
        pair = self._pairs.get(worker)
        if pair is None:
            return  # reaped earlier in this round of the loop
        for number, taken in pair.verdicts():
            self._on_answer(worker, number, taken)
        self.distribute()

    def _on_answer(self, worker: int, number: int, taken: bool) -> None:
        if number == ARE_YOU_THERE:
            self._queue.note_alive(worker)
        elif taken:
            self._queue.note_taken(worker, number)
            self._offered.pop(number).close()
        else:
            self._queue.note_refused(worker, number, time.monotonic())
            self._offer_again(number)

    def distribute(self) -> None:
        """Offer the connections that wait; accept more only if a worker is free then."""
        now = time.monotonic()
        for worker, number in self._queue.overdue(now):
            if self._pairs[worker].take_back():
                self._pairs[worker].ask()
                self._queue.note_taken_back(worker)
                self._offer_again(number)
        while self._waiting:
            free = self._queue.choose(now)
            if free is None:
                break
            self._offer(free, self._waiting.popleft())
        if self._waiting or self._queue.choose(now) is None:
            self._unwatch()
        elif self._is_accepting and now >= self._back_off_until:
            self._watch()

    def next_timer(self) -> float | None:
        """Return when `distribute` has something to do that no descriptor announces."""
        now = time.monotonic()
        times = [self._back_off_until] if self._back_off_until > now else []
        queue_timer = self._queue.next_timer(now)
        return min([*times, queue_timer] if queue_timer is not None else times, default=None)

    # -- small steps -----------------------------------------------------------------

    def _offer(self, worker: int, sock: socket.socket) -> None:
        number = self._next_number
        self._next_number = number % 0xFFFFFFFF + 1
        now = time.monotonic()
        self._offered[number] = sock
        self._queue.note_offered(worker, number, now)
        if not self._pairs[worker].offer(number, sock):
            self._queue.note_refused(worker, number, now)
            self._offer_again(number)

    def _offer_again(self, number: int | None) -> None:
        if number is not None and number in self._offered:
            self._waiting.append(self._offered.pop(number))

    def _watch(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            for listener in self._listeners:
                self._selector.register(
                    listener, selectors.EVENT_READ, lambda s=listener: self._on_listener(s)
                )

    def _unwatch(self) -> None:
        if self._is_watching:
            self._is_watching = False
            for listener in self._listeners:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(listener)
