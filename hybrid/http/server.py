"""The HTTP server of one worker, and how its parts belong together.

    listeners --> Acceptor --> Connection --> Exchange --> the application
                     |             |
                     +-- Shared: settings, counts, connections --+-- Watch (times)
                                                                 +-- draining

Everything happens on the event loop's thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

from hybrid.config import HttpConfig, LogConfig
from hybrid.core.activity import Activity
from hybrid.http.accepting import Acceptor
from hybrid.http.access_log import AccessLog
from hybrid.http.draining import announce, drain
from hybrid.http.shared import ASGIApp, Shared


@dataclass(frozen=True, slots=True)
class HttpStatistics:
    """Connections and requests of the server, at one moment."""

    connections: int
    accepted: int
    requests_active: int
    requests_total: int  # answered by the application, or left by their client
    responses_4xx: int  # also of requests that the application has not seen
    responses_5xx: int
    latency: tuple[int, ...]  # requests per bucket of `hybrid.core.histogram`
    latency_total: float  # s; the sum over all requests


class HttpServer:
    """Serves an ASGI application on sockets it is given."""

    def __init__(
        self,
        app: ASGIApp,
        settings: HttpConfig,
        *,
        state: dict[str, Any],
        headers: Sequence[tuple[bytes, bytes]] = (),
        ssl: SSLContext | None = None,
        log: LogConfig,
        leave: Callable[[str], None] | None = None,
        activity: Activity | None = None,
    ) -> None:
        """Create the parts; nothing is accepted yet.

        Args:
            app: the application.
            settings: limits and times.
            state: what the lifespan has put there for the requests.
            headers: sent with every answer.
            ssl: makes the server speak HTTPS, except on Unix sockets.
            log: whether and how requests are logged.
            leave: called with a reason when the application asks for the end of its process
                (SystemExit, KeyboardInterrupt): its client has a 500 then, and the others are
                served until this server is drained. None: the exception ends the loop.
            activity: is told when requests and connections come, and when connections end.
        """
        worker = next((v.decode() for n, v in headers if n.lower() == b"x-worker"), "-")
        self._shared = Shared(
            app,
            settings,
            state,
            headers,
            log=AccessLog(log.format, worker) if log.access else None,
            leave=leave,
            activity=activity,
        )
        self._acceptor = Acceptor(self._shared, ssl)

    def start_accepting(self, listeners: Sequence[socket.socket]) -> None:
        """Take connections from these listeners; never calls ``listen()``."""
        self._acceptor.start(listeners)

    def stop_accepting(self) -> None:
        """Accept no more; every answer from now on says ``Connection: close``."""
        self._acceptor.stop()
        announce(self._shared)

    def accept_remaining(self, listeners: Sequence[socket.socket]) -> int:
        """Accept everything that waits in the backlog; return how many connections it was."""
        return self._acceptor.empty(listeners)

    def adopt(self, sock: socket.socket, received: bytes = b"") -> None:
        """Serve a connection that the primary or another worker has accepted.

        Args:
            sock: connected, of any family, blocking or not. The server owns it now.
            received: the bytes that were already read from it (never with TLS).
        """
        self._acceptor.adopt(sock, received)

    def shed_keepalive(self, count: int) -> None:
        """Let the next `count` keep-alive answers say ``Connection: close``.

        Their clients connect again, and the scheduling policy chooses a worker
        for them. An idle connection is left alone: closing it could cross a
        request on its way. The count replaces what is left of an earlier one,
        so the caller may repeat its current surplus as often as it likes. Until
        the caller says 0, this worker leaves new connections to the others for
        2 ms: a client returns some time after its last answer, and must not
        find this worker first.
        """
        self._shared.shed = max(0, count)
        self._shared.yields = count > 0

    async def drain(self, grace: float) -> int:
        """Wait until every connection is gone, at most `grace` seconds; then cut the rest.

        The server is over after that. Returns how many connections were cut
        although something was owed to them.
        """
        self._acceptor.stop()
        cut = await drain(self._shared, self._acceptor, grace)
        self._shared.watch.stop()
        if self._shared.log is not None:
            self._shared.log.flush()
        return cut

    def statistics(self) -> HttpStatistics:
        """Return the counters as they are now; a frozen copy."""
        shared = self._shared
        counts = shared.counts
        return HttpStatistics(
            connections=len(shared.connections),
            accepted=counts.accepted,
            requests_active=counts.active,
            requests_total=counts.requests,
            responses_4xx=counts.responses[4],
            responses_5xx=counts.responses[5],
            latency=tuple(counts.latency.counts),
            latency_total=counts.latency.total,
        )
