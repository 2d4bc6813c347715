"""Redis, or Valkey. Values are plain strings, which other programs can read.

What several commands would do is a script, so that nothing comes between them.
The version of a value is its digest: one that was changed and changed back counts as unchanged.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from hybrid.errors import NotACounter
from hybrid.shared_state.contract import (
    Capabilities,
    Condition,
    Deliver,
    Feature,
    Version,
    Versioned,
)
from hybrid.shared_state.topics import pack, unpack

_CHANNEL = "hybrid.state"
_SPECIAL = re.compile(rb"[][*?\\^-]")  # what a pattern of SCAN does not take literally

_COMPARE = "local v = redis.call('GET', KEYS[1]) if not v or redis.sha1hex(v) ~= ARGV[1] "
_SWAP = (
    _COMPARE + "then return 0 end if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) "
    "else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end return 1"
)
_DELETE = _COMPARE + "then return 0 end return redis.call('DEL', KEYS[1])"
_INCR = (
    "local new = redis.call('EXISTS', KEYS[1]) == 0 "
    "local sum = redis.call('INCRBY', KEYS[1], ARGV[1]) "
    "if new then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return sum"
)
_PERSIST = "redis.call('PERSIST', KEYS[1]) return redis.call('EXISTS', KEYS[1])"


class RedisStore:
    """A `Store` at a server that speaks Redis' protocol."""

    capabilities = Capabilities(
        store="Redis",
        features=frozenset(Feature),
        largest_value=64 * 2**20,
        largest_message=1_000_000,
        smallest_ttl=0.001,
        ttl_error=0.01,
    )
    away: tuple[type[Exception], ...] = (ConnectionError, RedisTimeout, BusyLoadingError, OSError)
    refused: tuple[type[Exception], ...] = (RedisError,)

    def __init__(self, url: str, timeout: float, connections: int) -> None:
        """Connect with the first call."""
        self._client: Any = Redis.from_url(
            url,
            max_connections=connections + 2,  # one to listen, one that is being replaced
            socket_connect_timeout=timeout,
            # The caller bounds the whole call. The library's own way to bound the sending costs a
            # task per command, and in Python 3.11 it loses cancellations.
            socket_timeout=None,
            protocol=2,  # with 3 the library does not notice that an idle connection has ended
            # Without this the library sends a command again whose answer it has missed.
            retry=Retry(NoBackoff(), 0),
        )
        self._swap, self._delete, self._incr, self._persist = (
            self._client.register_script(code) for code in (_SWAP, _DELETE, _INCR, _PERSIST)
        )

    async def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        value: bytes | None = await self._client.get(key)
        return value

    async def get_versioned(self, key: bytes) -> Versioned | None:
        """Return a value and its digest."""
        value = await self._client.get(key)
        return None if value is None else Versioned(value, _digest(value))

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys."""
        values: list[bytes | None] = await self._client.mget(keys)
        return values

    async def set(self, key: bytes, value: bytes, ttl: float | None, when: Condition) -> bool:
        """Write; return whether the condition held."""
        absent, present = when is Condition.ABSENT, when is Condition.PRESENT
        px = None if ttl is None else _milliseconds(ttl)
        return bool(await self._client.set(key, value, px=px, nx=absent, xx=present))

    async def compare_and_set(
        self, key: bytes, value: bytes, version: Version, ttl: float | None
    ) -> bool:
        """Write if the value is still that version."""
        lives = "" if ttl is None else _milliseconds(ttl)
        return bool(await self._swap(keys=[key], args=[version, value, lives]))

    async def delete(self, key: bytes, version: Version | None) -> bool:
        """Delete, if it is still that version."""
        if version is None:
            return bool(await self._client.delete(key))
        return bool(await self._delete(keys=[key], args=[version]))

    async def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give a key a new time to live."""
        if ttl is None:
            return bool(await self._persist(keys=[key]))
        return bool(await self._client.pexpire(key, _milliseconds(ttl)))

    async def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Add to a number and return the sum."""
        try:
            if ttl is None:
                return int(await self._client.incrby(key, by))
            return int(await self._incr(keys=[key], args=[by, _milliseconds(ttl)]))
        except ResponseError as ex:
            if "not an integer" in str(ex) or "overflow" in str(ex):
                raise NotACounter("the value is not a whole number, or would leave 64 bits") from ex
            raise

    async def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield keys; Redis may name one twice, so those of this prefix are remembered."""
        pattern = _SPECIAL.sub(rb"\\\g<0>", prefix) + b"*"
        seen: set[bytes] = set()
        async for key in self._client.scan_iter(match=pattern, count=500):
            if key not in seen:
                seen.add(key)
                yield key

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to all workers of all hosts."""
        await self._client.publish(_CHANNEL, pack(topic, message))

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Hear what is published, on a connection of its own."""
        async with self._client.pubsub() as channel:
            await channel.subscribe(_CHANNEL)
            while True:
                message = await channel.get_message(timeout=None)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    ready()
                elif message["type"] == "message":
                    deliver(*unpack(message["data"]))

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._client.ping()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _digest(value: bytes) -> bytes:
    return sha1(value, usedforsecurity=False).hexdigest().encode()


def _milliseconds(ttl: float) -> int:
    return max(1, round(ttl * 1e3))
