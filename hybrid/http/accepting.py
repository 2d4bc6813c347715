"""Taking connections from listeners that somebody else has opened.

Accepting is ``add_reader`` on the inherited listener: ``create_server(sock=…)``
would call ``listen()`` again and shrink the backlog. Every worker that waits is
woken for every connection; who comes late finds none, and that is cheap.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from ssl import SSLContext
from typing import Any

from hybrid.http.connection.connection import Connection
from hybrid.http.shared import Shared
from hybrid.system.sockets.listeners import BACK_OFF, accept

logger = logging.getLogger("hybrid.error")

_AT_ONCE = 16  # connections taken per wake-up: the others leave some to their siblings
_HESITATION = 0.002  # s that somebody with too many connections leaves to the others


class Acceptor:
    """Turns waiting connections into `Connection`s, up to the limit."""

    def __init__(self, shared: Shared, ssl: SSLContext | None) -> None:
        self._shared = shared
        self._loop = shared.loop
        self._ssl = ssl
        self._listeners: list[socket.socket] = []
        self._is_watching = False
        self._back_off: asyncio.TimerHandle | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        shared.on_room = self._on_room

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Take connections from these listeners from now on."""
        for listener in listeners:
            listener.setblocking(False)
        self._listeners = list(listeners)
        self._watch()

    def stop(self) -> None:
        """Take no more; the listeners stay open."""
        self._unwatch()
        self._listeners = []
        if self._back_off is not None:
            self._back_off.cancel()
            self._back_off = None

    def empty(self, listeners: Sequence[socket.socket]) -> int:
        """Take everything that waits, whatever the limit; return how many it was."""
        return sum(self._accept(listener, most=1 << 30) for listener in listeners)

    @property
    def pending(self) -> int:
        """Return how many connections are taken and not set up yet (TLS: not shaken hands)."""
        return len(self._adopting)

    def cancel_pending(self) -> None:
        """Drop the connections that are still being set up."""
        for task in self._adopting:
            task.cancel()

    def adopt(self, sock: socket.socket, received: bytes = b"") -> None:
        """Serve a connection that was accepted here or elsewhere."""
        sock.setblocking(False)
        self._shared.counts.accepted += 1
        task = self._loop.create_task(self._connect(sock, received))
        self._adopting.add(task)
        task.add_done_callback(self._adopted)

    def _adopted(self, task: asyncio.Task[None]) -> None:
        self._adopting.discard(task)
        self._shared.ended()

    async def _connect(self, sock: socket.socket, received: bytes) -> None:
        if sock.family != socket.AF_UNIX:
            # asyncio does so only where `proto` is set, and an accepted socket's is 0.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options: dict[str, Any] = {}
        if self._ssl is not None and sock.family != socket.AF_UNIX:
            options["ssl"] = self._ssl
            options["ssl_handshake_timeout"] = self._shared.settings.header_timeout
        try:
            await self._loop.connect_accepted_socket(
                lambda: Connection(self._shared, received), sock, **options
            )
        except OSError:  # ssl.SSLError is one: it left, or it does not speak TLS
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    # -- watching ------------------------------------------------------------------

    def _watch(self) -> None:
        self._back_off = None
        if self._is_watching or not self._listeners:
            return
        self._is_watching = True
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._on_connection, listener)

    def _unwatch(self) -> None:
        if self._is_watching:
            self._is_watching = False
            for listener in self._listeners:
                self._loop.remove_reader(listener.fileno())

    def _on_connection(self, listener: socket.socket) -> None:
        if not self._shared.yields:
            self._accept(listener)
            return
        # It has too many connections. Whoever it said goodbye to must not find it first
        # again; if nobody else has time, the client waits no longer than this.
        self._unwatch()
        self._back_off = self._loop.call_later(_HESITATION, self._accept_late, listener)

    def _accept_late(self, listener: socket.socket) -> None:
        self._watch()
        self._accept(listener)

    def _accept(self, listener: socket.socket, most: int = _AT_ONCE) -> int:
        for taken in range(most):
            if most == _AT_ONCE and self._is_full():
                self._unwatch()  # the backlog keeps them; `_on_room` goes on
                return taken
            try:
                sock = accept(listener)
            except OSError as ex:
                logger.warning("not accepting for %g s: %s", BACK_OFF, ex.strerror)
                self._unwatch()
                self._back_off = self._loop.call_later(BACK_OFF, self._watch)
                return taken
            if sock is None:
                return taken
            self.adopt(sock)
        return most

    def _is_full(self) -> bool:
        shared = self._shared
        limit = shared.settings.limit_connections
        return bool(limit) and len(shared.connections) + len(self._adopting) >= limit

    def _on_room(self) -> None:
        """A connection is gone."""
        if not self._is_watching and self._back_off is None and not self._is_full():
            self._watch()
