"""Memcached: a cache. It forgets what is used least when its memory is full.

So it has no locks here, it cannot list its keys, and its counters only count up
(its decrement stops at 0). Times are whole seconds of its own clock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from memcachio import Client
from memcachio.errors import ClientError, MemcachedError, MemcachioConnectionError

from hybrid.errors import NotACounter
from hybrid.shared_state.cluster_topics import LARGEST_MESSAGE, cluster_topics
from hybrid.shared_state.contract import (
    LARGEST_NUMBER,
    Capabilities,
    Condition,
    Deliver,
    Version,
    Versioned,
)
from hybrid.shared_state.stores.quoting import quoted_or_hashed

T = TypeVar("T")

_LONGEST_KEY = 250  # bytes
_MONTH = 30 * 86400  # s; a longer time is read as a date
_TURNS = 100  # attempts of a counter that is deleted again and again


class MemcachedStore:
    """A `Store` at a Memcached server."""

    capabilities = Capabilities(
        store="Memcached",
        features=frozenset(),
        largest_value=1_000_000,
        largest_message=LARGEST_MESSAGE,
        smallest_ttl=1.0,
        ttl_error=1.1,
    )
    away: tuple[type[Exception], ...] = (MemcachioConnectionError, OSError)
    refused: tuple[type[Exception], ...] = (MemcachedError,)

    def __init__(self, url: str, timeout: float, connections: int) -> None:
        """Connect with the first call."""
        parts = urlsplit(url)
        at: Any = (parts.hostname, parts.port or 11211) if parts.hostname else Path(parts.path)
        name, secret = unquote(parts.username or ""), unquote(parts.password or "")

        def connect() -> Any:
            return Client(
                at,
                max_connections=connections,
                connect_timeout=timeout,
                # Sooner than the caller gives up: then it is known here that nothing came.
                read_timeout=0.9 * timeout,
                blocking_timeout=0.9 * timeout,
                socket_nodelay=True,
                username=name or None,
                password=secret or None,
            )

        self._connect = connect
        self._client = connect()
        self._old: list[Any] = []  # those that are being closed
        self._timeout = timeout

    async def _ask(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Return what the server answers; after a silence go on with new connections.

        An old one may wait for its answer for ever, and a caller that was cancelled
        while it connected leaves the driver's pool with a place less.
        """
        client = self._client
        try:
            return await call(client)
        except (TimeoutError, MemcachioConnectionError):
            if client is self._client:
                self._client = self._connect()
                self._old.append(client)
                # Later: calls that are under way give their connections back first.
                asyncio.get_running_loop().call_later(self._timeout, self._close_oldest)
            raise

    def _close_oldest(self) -> None:
        if self._old:
            self._old.pop(0).connection_pool.close()

    async def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        name = _name(key)
        found: Any = await self._ask(lambda client: client.get(name))
        return found[name].value if found else None

    async def get_versioned(self, key: bytes) -> Versioned | None:
        """Return a value and its number."""
        name = _name(key)
        found: Any = await self._ask(lambda client: client.gets(name))
        return Versioned(found[name].value, found[name].cas) if found else None

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys."""
        names = [_name(key) for key in keys]
        found: Any = await self._ask(lambda client: client.get(*names))
        return [found[name].value if name in found else None for name in names]

    async def set(self, key: bytes, value: bytes, ttl: float | None, when: Condition) -> bool:
        """Write; return whether the condition held."""
        verb = {Condition.ALWAYS: "set", Condition.ABSENT: "add", Condition.PRESENT: "replace"}
        name, expiry = _name(key), _expiry(ttl)
        return await self._ask(
            lambda client: getattr(client, verb[when])(name, value, expiry=expiry)
        )

    async def compare_and_set(
        self, key: bytes, value: bytes, version: Version, ttl: float | None
    ) -> bool:
        """Write if the value is still that version."""
        return await self._swap(key, value, version, _expiry(ttl))

    async def _swap(self, key: bytes, value: bytes, version: Version, expiry: int) -> bool:
        name = _name(key)
        return await self._ask(lambda client: client.cas(name, value, version, expiry=expiry))

    async def delete(self, key: bytes, version: Version | None) -> bool:
        """Delete, if it is still that version."""
        if version is not None:
            return await self._swap(key, b"", version, -1)  # it has expired when it is written
        name = _name(key)
        return await self._ask(lambda client: client.delete(name))

    async def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give a key a new time to live."""
        name, expiry = _name(key), _expiry(ttl)
        return await self._ask(lambda client: client.touch(name, expiry))

    async def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Add to a number and return the sum."""
        name, first, expiry = _name(key), str(by).encode(), _expiry(ttl)
        for _ in range(_TURNS):
            try:
                total: int | None = await self._ask(lambda client: client.incr(name, by))
            except ClientError as ex:
                raise NotACounter(str(ex)) from ex
            if total is not None and total > LARGEST_NUMBER:
                raise NotACounter("the number has left 64 bits")
            if total is not None:
                return total
            if await self._ask(lambda client: client.add(name, first, expiry=expiry)):
                return by
        raise NotACounter("the counter is deleted again and again")

    async def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield nothing: `capabilities` says that keys cannot be listed."""
        nothing: tuple[bytes, ...] = ()
        for key in nothing:
            yield key

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to the workers of this cluster."""
        await cluster_topics.publish(topic, message)

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Hear what the workers of this cluster publish."""
        await cluster_topics.listen(deliver, ready)

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._ask(lambda client: client.get(b"ping"))

    async def close(self) -> None:
        """Close the connections."""
        for client in (self._client, *self._old):
            client.connection_pool.close()
        self._old.clear()
        await asyncio.sleep(0)  # the transports close with the loop's next turn


def _name(key: bytes) -> bytes:
    return quoted_or_hashed(key, _LONGEST_KEY)


def _expiry(ttl: float | None) -> int:
    if ttl is None:
        return 0
    seconds = math.ceil(ttl)
    return seconds if seconds <= _MONTH else int(time.time()) + seconds
