"""The worker's half of a hand-over: taking connections that the primary has accepted."""

from __future__ import annotations

import asyncio
import socket

from hybrid.http.server import HttpServer
from hybrid.system.sockets.handoff_socket import ARE_YOU_THERE, Offer, answer_offer, receive_offers


class Adoption:
    """Takes the connections that the primary offers, or refuses them.

    "Taken" is answered before the connection is served: the primary then closes its
    copy, so that no other process will read from it.
    """

    def __init__(
        self,
        theirs: socket.socket,
        server: HttpServer,
        loop: asyncio.AbstractEventLoop,
        limit: int,
    ) -> None:
        """Serve on `server`, at most `limit` connections at once (0: no limit)."""
        self._theirs = theirs
        self._server = server
        self._loop = loop
        self._limit = limit
        self._pending = 0  # adopted in this turn of the loop; the server does not count them yet

    def start(self) -> None:
        """Take connections from now on."""
        self._theirs.setblocking(False)
        self._loop.add_reader(self._theirs.fileno(), self._on_offers)

    def lift_limit(self) -> None:
        """Take every connection: no other worker is left."""
        self._limit = 0

    def stop(self) -> None:
        """Take the connections that have been offered, then no more."""
        self._on_offers()
        self._loop.remove_reader(self._theirs.fileno())

    def _on_offers(self) -> None:
        for offer in receive_offers(self._theirs):
            self._answer(offer)

    def _answer(self, offer: Offer) -> None:
        if offer.sock is None:
            # Without a descriptor it is a question, or this process had no room for one.
            answer_offer(self._theirs, offer.number, taken=offer.number == ARE_YOU_THERE)
        elif self._is_full():
            offer.sock.close()
            answer_offer(self._theirs, offer.number, taken=False)
        else:
            answer_offer(self._theirs, offer.number, taken=True)
            self._pending += 1
            self._loop.call_soon(self._counted)
            self._server.adopt(offer.sock)

    def _counted(self) -> None:
        self._pending -= 1

    def _is_full(self) -> bool:
        if not self._limit:
            return False
        return self._server.statistics().connections + self._pending >= self._limit
