"""The seam to uvicorn's HTTP/1.1 protocol class; nothing else of hybrid knows uvicorn.

What the class lacks is added here: a request learns that its client is gone,
EOF while an answer is owed is not departure, and a draining server says
``Connection: close``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hybrid.config import HttpConfig
from hybrid.pool.client import Departure


class Shared:
    """What all connections of a worker share."""

    def __init__(
        self,
        app: Any,
        settings: HttpConfig,
        headers: Sequence[tuple[bytes, bytes]],
        state: dict[str, Any],
    ) -> None:
        self.config = uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=int(settings.keep_alive),
            proxy_headers=settings.proxy_headers,
            forwarded_allow_ips=list(settings.forwarded_allow_ips),
            root_path=settings.root_path,
            limit_concurrency=settings.limit_concurrency or None,
            server_header=settings.server_header,
        )
        self.config.load()
        self.server_state = ServerState()
        self.constant_headers = list(headers)
        self.state = state
        self.draining = False
        self.active: set[Connection] = set()  # with a request that has no complete answer

    def protocol(self) -> Connection:
        """Return the protocol object of a new connection."""
        return Connection(self)


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, shared: Shared) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(shared.config, shared.server_state, shared.state, loop)
        self._shared = shared
        self._departure: Departure | None = None
        self._half_closed = False
        self.requests = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.requests += 1
        self._departure = Departure()
        scope: Any = cycle.scope
        scope["extensions"] = {"hybrid.departure": self._departure}
        if self._shared.draining:
            cycle.keep_alive = False
        self._shared.active.add(self)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to the next request, or close when draining or half-closed."""
        self._shared.active.discard(self)
        self._departure = None
        super().on_response_complete()
        if self._half_closed and self not in self._shared.active:
            self.transport.close()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the writing half open while an answer is owed."""
        self._half_closed = True
        return self in self._shared.active

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request that nobody waits for its answer."""
        departure, self._departure = self._departure, None
        self._shared.active.discard(self)
        super().connection_lost(exc)
        if departure is not None:
            departure.trigger()

    def close_when_idle(self) -> None:
        """Draining: answer what is being read or answered, then close."""
        if self in self._shared.active:
            self.cycle.keep_alive = False
        elif self.transport is not None:
            self.transport.close()
