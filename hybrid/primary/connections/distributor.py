"""Accepting in the primary and passing connections on (round-robin, least-loaded).

     backlog --> accept --> offer to a worker --> "taken": close our copy
                   |             |                "refused", or the worker died:
                   |             |                offer it to the next one
                   |             +-- left lying: read it back, offer it to the next one
                   +-- only while a worker is free: else connections wait in the backlog

The decisions are `hybrid.core.connections.handoff_queue`'s. The primary's copy stays open until
the worker has said that it takes the connection, which it does before its
first read: so at any moment at most one process has read from it, and a worker
that dies in between loses nothing.
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
    rota = least_loaded(row_of, scoreboard)
    if listening.policy is not Policy.LEAST_LOADED:
        rota = HandoffQueue()
    return ConnectionDistributor(listening.all() if listening.handed_over else [], selector, rota)


def least_loaded(row_of: Callable[[int], int], scoreboard: Scoreboard) -> HandoffQueue:
    """Return a rota that asks whoever has least to do, by the scoreboard.

    A row is up to 0.1 s old. What a worker has taken since then is counted on top,
    or a burst would go to one worker whole.
    """

    def load(worker: int) -> tuple[float, float]:
        row = scoreboard.row(row_of(worker))
        unseen = max(0.0, rota.given(worker) - row.get("accepted"))
        busy = row.get("requests_active") + row.get("pool_queued")
        return busy + unseen, row.get("connections") + unseen

    rota = HandoffQueue(load)
    return rota


class ConnectionDistributor:
    """Takes connections from the listeners and finds a worker for each."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        rota: HandoffQueue,
    ) -> None:
        self._listeners = list(listeners)
        self._selector = selector
        self._rota = rota
        self._pairs: dict[int, HandoverPair] = {}  # by worker id
        self._offered: dict[int, socket.socket] = {}  # by number; our copies
        self._waiting: deque[socket.socket] = deque()  # accepted, taken by nobody yet
        self._next_number = ARE_YOU_THERE + 1
        self._watching = False
        self._accepting = True
        self._back_off_until = 0.0

    # -- who takes part ------------------------------------------------------------

    def join(self, worker: int, pair: HandoverPair | None) -> None:
        """Offer connections to a worker from now on, unless it accepts by itself."""
        if pair is None:
            return
        self._pairs[worker] = pair
        self._rota.join(worker)
        self._selector.register(pair, selectors.EVENT_READ, lambda: self._on_verdict(worker))
        self.go_on()

    def leave(self, worker: int, dead: bool = False) -> None:
        """Offer it nothing more. What it was offered it still takes, unless it is `dead`."""
        pair = self._pairs.get(worker)
        if pair is None:
            return
        for number, taken in pair.verdicts():  # its last words
            self._hear(worker, number, taken)
        if dead:
            self._selector.unregister(pair)
            del self._pairs[worker]
            self._offer_again(self._rota.leave(worker))
        elif worker in self._rota:
            holds = self._rota.leave(worker)
            if holds is not None and pair.take_back():
                self._offer_again(holds)
            # Otherwise it has seen it, and its verdict comes; see `_hear`.
        self.go_on()

    def last_resort(self, worker: int) -> None:
        """Offer what nobody has taken to this worker, which drains; there is no other one."""
        if worker in self._pairs and worker not in self._rota:
            self._rota.join(worker)
        self.go_on()

    def stop_accepting(self) -> None:
        """Leave what comes now in the backlog, for the last acceptor."""
        self._accepting = False
        self._unwatch()

    def close(self) -> None:
        """Give back every descriptor; connections that nobody took are lost."""
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
        while (worker := self._rota.choose(time.monotonic())) is not None:
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
        self._unwatch()  # nobody is free

    def _on_verdict(self, worker: int) -> None:
        pair = self._pairs.get(worker)
        if pair is None:
            return  # reaped earlier in this round of the loop
        for number, taken in pair.verdicts():
            self._hear(worker, number, taken)
        self.go_on()

    def _hear(self, worker: int, number: int, taken: bool) -> None:
        if number == ARE_YOU_THERE:
            self._rota.returned(worker)
            return
        if taken:
            self._rota.taken(worker, number)
            self._offered.pop(number).close()
        else:
            self._rota.refused(worker, number, time.monotonic())
            self._offer_again(number)

    def go_on(self) -> None:
        """Find takers for what waits; accept if somebody is free then."""
        now = time.monotonic()
        for worker, number in self._rota.overdue(now):
            if self._pairs[worker].take_back():
                self._pairs[worker].ask()
                self._rota.taken_back(worker)
                self._offer_again(number)
        while self._waiting:
            taker = self._rota.choose(now)
            if taker is None:
                break
            self._offer(taker, self._waiting.popleft())
        if self._waiting or self._rota.choose(now) is None:
            self._unwatch()
        elif self._accepting and now >= self._back_off_until:
            self._watch()

    def next_timer(self) -> float | None:
        """Return when `go_on` has something to do that no descriptor tells."""
        now = time.monotonic()
        times = [self._back_off_until] if self._back_off_until > now else []
        rest = self._rota.next_timer(now)
        return min([*times, rest] if rest is not None else times, default=None)

    # -- small steps -----------------------------------------------------------------

    def _offer(self, worker: int, sock: socket.socket) -> None:
        number = self._next_number
        self._next_number = number % 0xFFFFFFFF + 1
        now = time.monotonic()
        self._offered[number] = sock
        self._rota.handed(worker, number, now)
        if not self._pairs[worker].offer(number, sock):
            self._rota.refused(worker, number, now)
            self._offer_again(number)

    def _offer_again(self, number: int | None) -> None:
        if number is not None and number in self._offered:
            self._waiting.append(self._offered.pop(number))

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            for listener in self._listeners:
                self._selector.register(
                    listener, selectors.EVENT_READ, lambda s=listener: self._on_listener(s)
                )

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            for listener in self._listeners:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(listener)
