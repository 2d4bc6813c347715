"""Taking connections from listeners that the primary has opened.

Accepting is ``add_reader`` on the inherited listener: ``create_server(sock=…)``
would call ``listen()`` again and shrink the backlog. Every worker that waits is
woken for every connection; the losers get EAGAIN, which is cheap.
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

_AT_ONCE = 16  # connections taken per wake-up; the rest is left to the other workers
_HESITATION = 0.002  # s that a worker with too many connections leaves to the others


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
        """Take everything that waits, above the limit if need be; return how many it was."""
        return sum(self._accept(listener, ignore_limits=True) for listener in listeners)

    @property
    def pending(self) -> int:
        """How many connections are accepted and not set up yet (TLS: no handshake yet)."""
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
        self._watch_if_room()  # a TLS handshake that failed gives its place back

    async def _connect(self, sock: socket.socket, received: bytes) -> None:
        if sock.family != socket.AF_UNIX:
            # asyncio sets it only where `proto` is IPPROTO_TCP; an accepted socket's is 0.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options: dict[str, Any] = {}
        if self._ssl is not None and sock.family != socket.AF_UNIX:
            options["ssl"] = self._ssl
            options["ssl_handshake_timeout"] = self._shared.settings.header_timeout
        try:
            await self._loop.connect_accepted_socket(
                lambda: Connection(self._shared, self._watch_if_room, received), sock, **options
            )
        except OSError:  # ssl.SSLError is one: the client left, or does not speak TLS
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
        # This worker has just shed connections: give the others 2 ms to accept the clients
        # that return. If they are all busy, the client has waited 2 ms.
        self._unwatch()
        self._back_off = self._loop.call_later(_HESITATION, self._accept_late, listener)

    def _accept_late(self, listener: socket.socket) -> None:
        self._watch()
        self._accept(listener)

    def _accept(self, listener: socket.socket, *, ignore_limits: bool = False) -> int:
        """Accept up to `_AT_ONCE` connections, or all that wait; return how many it was."""
        taken = 0
        while ignore_limits or taken < _AT_ONCE:
            if not ignore_limits and self._is_full():
                self._unwatch()  # the backlog keeps the others, until `_watch_if_room`
                break
            try:
                sock = accept(listener)
            except OSError as ex:
                logger.warning("not accepting for %g s: %s", BACK_OFF, ex.strerror)
                self._unwatch()
                self._back_off = self._loop.call_later(BACK_OFF, self._watch)
                break
            if sock is None:
                break
            self.adopt(sock)
            taken += 1
        return taken

    def _is_full(self) -> bool:
        shared = self._shared
        limit = shared.settings.limit_connections
        return bool(limit) and len(shared.connections) + len(self._adopting) >= limit

    def _watch_if_room(self) -> None:
        """Accept again after a connection has ended, if the limit was the reason not to."""
        if not self._is_watching and self._back_off is None and not self._is_full():
            self._watch()
