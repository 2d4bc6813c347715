"""What all connections of one server share: the application, its settings, its counters."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from contextvars import copy_context
from typing import Any, Protocol

from hybrid.config import HttpConfig
from hybrid.core.activity import Activity
from hybrid.core.histogram import Histogram
from hybrid.http.access_log import AccessLog
from hybrid.http.answer.coalescing import WriteCoalescer
from hybrid.http.answer.heads import Heads
from hybrid.http.limits import Watch
from hybrid.http.request.forwarded import TrustedPeers

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]  # scope, receive, send


class OpenConnection(Protocol):
    """A connection as the server's parts see it."""

    deadline: float  # monotonic

    @property
    def is_idle(self) -> bool:
        """Whether cutting the connection now loses nothing."""
        ...

    def drain(self) -> None:
        """End after what is owed."""
        ...

    def act_on_deadline(self) -> None:
        """End, or set a new deadline: the present one has passed."""
        ...

    def describe(self) -> str:
        """Return what a log line says about the connection."""
        ...

    def abort(self) -> None:
        """Cut the connection now, whatever is owed."""
        ...


class RunningExchange(Protocol):
    """An exchange whose application has not returned."""

    task: asyncio.Task[None] | None  # None until the application has run for the first time


class Counts:
    """Totals of one server since its start."""

    __slots__ = ("accepted", "active", "latency", "requests", "responses")

    def __init__(self) -> None:
        self.accepted = 0
        self.active = 0  # requests that have no complete answer now
        self.requests = 0
        self.responses = [0] * 10  # by the status' first digit
        self.latency = Histogram()  # of whole answers: from the end of the head to the last send

    def count(self, status: int, seconds: float) -> None:
        """Count a request that has its answer, or has lost its client."""
        self.active -= 1
        self.requests += 1
        self.responses[status // 100] += 1
        self.latency.add(seconds)


class Shared:
    """State of one server, made by it and passed to every connection and exchange."""

    def __init__(
        self,
        app: ASGIApp,
        settings: HttpConfig,
        state: dict[str, Any],
        headers: Sequence[tuple[bytes, bytes]],
        *,
        log: AccessLog | None = None,
        leave: Callable[[str], None] | None = None,
        activity: Activity | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.state = state
        self.heads = Heads(headers, server_header=settings.server_header)
        self.trusted = TrustedPeers(settings.forwarded_allow_ips if settings.proxy_headers else ())
        self.log = log
        self.leave = leave  # asks for the end of this process, with the reason
        self.activity = activity or Activity()
        self.loop = asyncio.get_running_loop()
        self.context = copy_context()  # every request starts with a copy of it
        self.counts = Counts()
        self.coalescer = WriteCoalescer(self.loop)
        self.draining = False
        self.shed = 0  # how many answers will say close, to move connections to other workers
        self.yields = False  # new connections are left to other workers for 2 ms
        self.connections: set[OpenConnection] = set()
        self.running: set[RunningExchange] = set()
        self._an_end: asyncio.Event | None = None
        self.watch = Watch(self.loop, settings, self.connections, self._goes_on)
        # Unique by the prefix: every worker draws its own after the fork.
        self._ids = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def _goes_on(self) -> bool:
        if self.log is not None:
            self.log.flush()
        return bool(self.connections or self.running)

    def ended(self) -> None:
        """Wake `wait_for_an_end`: a connection or an application has ended."""
        self.activity.begin()
        if self._an_end is not None:
            self._an_end.set()

    async def wait_for_an_end(self, timeout: float) -> None:
        """Return when a connection or an application has ended, at most after `timeout` seconds."""
        self._an_end = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._an_end.wait(), timeout)
        self._an_end = None

    def new_request_id(self) -> str:
        """Return an id that no other request of the cluster has."""
        return f"{self._ids}-{next(self._numbers):x}"


if sys.version_info >= (3, 12):

    def start_task(shared: Shared, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `run` as a task that starts now, not in the loop's next turn.

        It gets a copy of the server's context: the caller may run in another request's.
        """
        context = shared.context.copy()
        return asyncio.Task(run, loop=shared.loop, context=context, eager_start=True)

else:

    def start_task(shared: Shared, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `run` as a task, from the loop's next turn on: Python starts none earlier.

        It gets a copy of the server's context: the caller may run in another request's.
        """
        return shared.loop.create_task(run, context=shared.context.copy())
