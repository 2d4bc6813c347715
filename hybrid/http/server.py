"""A worker's connections: accepting them, counting them, letting them end.

The listeners are inherited, so accepting is ``add_reader`` on them and
``connect_accepted_socket``; ``create_server(sock=…)`` would call ``listen()``
again and shrink the backlog to 100.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hybrid.config import HttpConfig, LogConfig
from hybrid.http.protocol import Connection, Shared
from hybrid.http.request import Counts, RequestFrame

logger = logging.getLogger("hybrid.error")

_AT_ONCE = 16  # connections taken per wake-up: the others leave some to their siblings
_BACK_OFF = 0.5  # s without accepting after the process ran out of descriptors
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class HttpStatistics:
    """A snapshot of the worker's connections and requests."""

    connections: int
    accepted: int
    requests_active: int
    requests_total: int
    responses_4xx: int
    responses_5xx: int


@dataclass(frozen=True, slots=True)
class DrainReport:
    """How a drain ended."""

    finished: int  # connections that ended by themselves
    cut: int  # connections cut with a request unanswered


class HttpServer:
    """Serves an ASGI application on sockets it is given. Event-loop thread only."""

    def __init__(
        self,
        app: Any,
        settings: HttpConfig,
        *,
        state: dict[str, Any],
        headers: Sequence[tuple[bytes, bytes]] = (),
        log: LogConfig,
    ) -> None:
        self._counts = Counts()
        self._settings = settings
        framed = RequestFrame(app, settings, list(headers), log, self._counts)
        self._shared = Shared(framed, settings, headers, state)
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._watched: set[socket.socket] = set()
        self._adopting: set[asyncio.Task[None]] = set()
        self._accepted = 0

    def start_accepting(self, listeners: Sequence[socket.socket]) -> None:
        """Take connections from these listeners."""
        self._listeners = list(listeners)
        self._watch()

    def stop_accepting(self) -> None:
        """Take no more; every answer from now on says ``Connection: close``."""
        self._unwatch()
        self._listeners = []
        self._shared.draining = True

    def accept_remaining(self, listeners: Sequence[socket.socket]) -> int:
        """Take everything that waits in the backlog; return how many it was."""
        return sum(self._accept(listener, most=1 << 30) for listener in listeners)

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere."""
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted += 1
        task = self._loop.create_task(self._connect(sock))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def drain(self, grace: float) -> DrainReport:
        """Wait until every connection is gone, at most `grace` seconds; then cut the rest."""
        shared = self._shared
        before = len(shared.server_state.connections)
        deadline = self._loop.time() + grace
        idle_at = self._loop.time() + min(self._settings.linger, grace)
        while self._adopting or shared.server_state.connections:
            now = self._loop.time()
            if now >= deadline:
                break
            for connection in list(shared.server_state.connections):
                if now >= idle_at or connection in shared.active:
                    _let_end(connection)
            await asyncio.sleep(0.02)
        return self._cut(before)

    def _cut(self, before: int) -> DrainReport:
        left: list[Any] = list(self._shared.server_state.connections)
        for connection in left:
            logger.warning("grace period over: cutting %s", connection.client)
            connection.transport.abort()
        return DrainReport(before - len(left), len(left))

    def statistics(self) -> HttpStatistics:
        """Return a snapshot."""
        counts = self._counts
        return HttpStatistics(
            connections=len(self._shared.server_state.connections),
            accepted=self._accepted,
            requests_active=counts.active,
            requests_total=counts.total,
            responses_4xx=counts.responses_4xx,
            responses_5xx=counts.responses_5xx,
        )

    # -- accepting -----------------------------------------------------------------

    def _watch(self) -> None:
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)
            self._watched.add(listener)

    def _unwatch(self) -> None:
        for listener in self._watched:
            self._loop.remove_reader(listener.fileno())
        self._watched.clear()

    def _accept(self, listener: socket.socket, most: int = _AT_ONCE) -> int:
        for taken in range(most):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return taken
            except ConnectionAbortedError:
                continue  # it left before we came
            except OSError as ex:
                if ex.errno not in _EXHAUSTED:
                    raise
                logger.warning("not accepting for %g s: %s", _BACK_OFF, ex.strerror)
                self._unwatch()
                self._loop.call_later(_BACK_OFF, self._watch)
                return taken
            if len(self._shared.server_state.connections) + 1 >= self._settings.limit_connections:
                self._pause_accepting()
            self.adopt(sock)
        return most

    def _pause_accepting(self) -> None:
        """Leave connections to the siblings, or in the backlog, while this worker is full."""
        if not self._watched:
            return
        self._unwatch()
        self._loop.call_later(0.05, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if self._shared.draining or self._watched:
            return
        if len(self._shared.server_state.connections) < self._settings.limit_connections:
            self._watch()
        else:
            self._loop.call_later(0.05, self._resume_accepting)

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._shared.protocol, sock)
        except OSError:
            sock.close()


def _let_end(connection: Any) -> None:
    """Close a connection as soon as nothing is owed on it; a WebSocket is told to go."""
    if isinstance(connection, Connection):
        connection.close_when_idle()
    else:
        connection.shutdown()
