"""Locks as leases: held for a time, renewed while they are used, numbered by fencing tokens.

A process that stands still longer than its lease does not know that it has lost
it. So what a lock protects has to refuse a token that is lower than one it has
seen; tokens only grow.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from hybrid.errors import LockBusy, LockLost, StateUnavailable
from hybrid.shared_state.contract import Version, Versioned

_ASK_AGAIN = (0.01, 0.2)  # s between two attempts, first and longest

_SAFE = 0.8  # of the time to live; the rest is for clocks and scheduling


@dataclass(frozen=True, slots=True)
class Lease:
    """What the holder of a lock has."""

    name: str
    token: int  # greater than that of every earlier holder


class LockStore(Protocol):
    """What a lock needs of the shared state; see `hybrid.shared_state.state.State`."""

    async def incr(self, key: str) -> int:
        """Add 1 and return the sum."""
        ...

    async def set(self, key: str, value: bytes, *, ttl: float, only_if: Literal["absent"]) -> bool:
        """Store a value where there is none; return whether it was stored."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return a value, or None."""
        ...

    async def get_versioned(self, key: str) -> Versioned | None:
        """Return a value with its version, or None."""
        ...

    async def compare_and_set(
        self, key: str, value: bytes, version: Version, *, ttl: float
    ) -> bool:
        """Replace the value of this version; return whether it still had it."""
        ...

    async def delete(self, key: str, *, version: Version) -> bool:
        """Delete the value of this version; return whether it was there."""
        ...


class Lock:
    """See `State.lock`. One object locks once at a time."""

    def __init__(self, state: LockStore, name: str, ttl: float, wait: float) -> None:
        self._state, self._name, self._ttl, self._wait = state, name, ttl, wait
        self._key, self._counter = f"lock:{name}", f"lock-token:{name}"
        self._mine = b""
        self._keeper: asyncio.Task[None] | None = None
        self._body: asyncio.Task[object] | None = None
        self._is_lost = False

    async def __aenter__(self) -> Lease:
        await self._acquire()
        try:
            token = await self._state.incr(self._counter)
            await self._confirm()
        except BaseException:
            await self._release()
            raise
        self._is_lost = False
        self._body = asyncio.current_task()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        return Lease(self._name, token)

    async def __aexit__(
        self, kind: type[BaseException] | None, ex: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._keeper is not None
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        if not self._is_lost:
            await self._release()
            return
        if isinstance(ex, asyncio.CancelledError) and self._body is not None:
            self._body.uncancel()
        if ex is None or isinstance(ex, asyncio.CancelledError):
            raise LockLost(f"{self._name} could not be renewed within {self._ttl:g} s") from ex

    async def _acquire(self) -> None:
        mine = secrets.token_bytes(16)
        give_up = time.monotonic() + self._wait
        pause, longest = _ASK_AGAIN
        while not await self._state.set(self._key, mine, ttl=self._ttl, only_if="absent"):
            left = give_up - time.monotonic()
            if left <= 0:
                raise LockBusy(f"{self._name} is held by another task")
            await asyncio.sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(longest, 2 * pause)
        self._mine = mine

    async def _confirm(self) -> None:
        """Raise LockBusy if the lease expired before the token was drawn: it may be too high."""
        if await self._state.get(self._key) != self._mine:
            raise LockBusy(f"{self._name} was lost before it could be used")

    async def _release(self) -> None:
        """Free the lock if it is still ours; if the store is away it frees itself."""
        with suppress(StateUnavailable):
            found = await self._state.get_versioned(self._key)
            if found is not None and found.value == self._mine:
                await self._state.delete(self._key, version=found.version)

    async def _keep(self) -> None:
        """Renew the lease; cancel the body when it is lost, or nearly."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._ttl / 3)
            began = time.monotonic()
            latest = renewed + _SAFE * self._ttl  # after that the lease may end under the body
            with suppress(StateUnavailable, TimeoutError):
                async with asyncio.timeout(latest - began):
                    if not await self._renew():
                        break
                renewed = began
            if time.monotonic() >= latest:
                break
        self._is_lost = True
        if self._body is not None:
            self._body.cancel()

    async def _renew(self) -> bool:
        found = await self._state.get_versioned(self._key)
        if found is None or found.value != self._mine:
            return False
        return await self._state.compare_and_set(
            self._key, self._mine, found.version, ttl=self._ttl
        )
