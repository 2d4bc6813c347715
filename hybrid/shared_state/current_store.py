"""The store of this process. A worker says which one before it imports the application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from hybrid.config import StateConfig
from hybrid.errors import StateError
from hybrid.shared_state.access import StoreAccess
from hybrid.shared_state.address import hide_password, open_store
from hybrid.shared_state.contract import Store
from hybrid.shared_state.stores.embedded_file import embedded_path
from hybrid.shared_state.topics import Topics


class CurrentStore:
    """One store as one event loop uses it: its calls and its subscriptions."""

    def __init__(self, settings: StateConfig, open_it: Callable[[], Store]) -> None:
        """Open nothing yet."""
        self.settings = settings
        is_file = settings.url.startswith("sqlite:")
        # A file has one thread: what waits for it is bounded, not how many use it at once.
        parallel = 1024 if is_file else settings.connections
        shown = hide_password(settings.url)
        self.access = StoreAccess(open_it, shown, settings.timeout, parallel)
        self.topics = Topics(lambda: self.access.store.listen, (Exception,))
        self._probe: asyncio.Task[None] | None = None

    def is_ready(self) -> bool:
        """Return whether requests that need the store can be answered."""
        there = self.access.has_answered and not self.access.availability.is_away
        return there or not self.settings.required

    def begin_probing(self, every: float = 1.0) -> None:
        """Ask the store regularly whether it is there, if the server depends on it.

        Without traffic nothing else would find that it is back.
        """
        if self.settings.required:
            self._probe = asyncio.get_running_loop().create_task(self._ask(every))

    async def _ask(self, every: float) -> None:
        while True:
            with contextlib.suppress(StateError):  # has been noted, and logged once
                await self.access.call(self.access.store.ping)
            await asyncio.sleep(every)

    async def close(self) -> None:
        """Close subscriptions and connections."""
        if self._probe is not None:
            self._probe.cancel()
        await self.topics.close()
        await self.access.close()


_current: CurrentStore | None = None  # one fact about the process
_alone: tuple[asyncio.AbstractEventLoop, CurrentStore] | None = None
_memory: Store | None = None


def use_store(settings: StateConfig, primary: int) -> CurrentStore:
    """Make this the store of the process; nothing is opened before the first call."""
    global _current

    def open_it() -> Store:
        embedded = partial(embedded_path, primary)
        return open_store(settings.url, embedded, settings.timeout, settings.connections)

    _current = CurrentStore(settings, open_it)
    return _current


def current_store() -> CurrentStore:
    """Return the store of this process; in memory where there is no server."""
    if _current is not None:
        return _current
    global _alone, _memory
    loop = asyncio.get_running_loop()
    if _alone is None or _alone[0] is not loop:
        if _memory is None:
            _memory = open_store("sqlite:", lambda: ":memory:", 5.0, 1)
        memory = _memory
        _alone = loop, CurrentStore(StateConfig(), lambda: memory)
    return _alone[1]


def named_store() -> Store | None:
    """Return the store if a server has named one."""
    return None if _current is None else _current.access.store
