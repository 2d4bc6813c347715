"""`hybrid.state`: what an application calls.

    state = hybrid.state("shop")
    visits = await state.incr("visits", ttl=3600)

The same call works in a script or test; the store is then this process' memory.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import orjson

from hybrid.errors import StateUnsupported, ValueTooLarge
from hybrid.shared_state.contract import (
    LARGEST_KEY,
    LARGEST_NUMBER,
    LONGEST_TTL,
    Capabilities,
    Condition,
    Feature,
    Version,
    Versioned,
)
from hybrid.shared_state.current_store import CurrentStore, current_store, named_store
from hybrid.shared_state.leases import Lock
from hybrid.shared_state.topics import Subscription

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WHEN: Mapping[str | None, Condition] = {
    None: Condition.ALWAYS,
    "absent": Condition.ABSENT,
    "present": Condition.PRESENT,
}


def state(namespace: str = "app", requires: Iterable[str] = ()) -> State:
    """Return the shared state under a namespace; costs nothing until it is used.

    Args:
        namespace: keys of another one are other keys. Letters, digits, ``_.-``.
        requires: what the store must have: "scan", "lock", "count_down", "any_host".
            Asked for when the application is imported, it is missed at the start
            and not at the first use.

    Raises:
        StateUnsupported: the store of this server has not all of `requires`.
    """
    return State(namespace, requires)


class State:
    """One namespace of the shared state. Every call but the helpers is one round trip.

    Raised by all calls: `StateUnavailable` (the store is away or too slow; HTTP 503),
    ValueError for a key or time to live that no store takes.
    """

    def __init__(
        self,
        namespace: str,
        requires: Iterable[str] = (),
        find: Callable[[], CurrentStore] = current_store,
    ) -> None:
        """Use what `find` returns at each call: the store of the process."""
        self._find = find
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"{namespace!r} is not a namespace: 1 to 64 letters, digits, _ . -")
        self.namespace = namespace
        self._prefix = f"{namespace}:".encode()
        self._requires = tuple(Feature(each) for each in requires)
        store = named_store() if self._requires else None
        if store is not None:
            for feature in self._requires:
                self._demand(store.capabilities, feature)

    @staticmethod
    def _demand(capabilities: Capabilities, feature: Feature) -> None:
        if feature not in capabilities.features:
            raise StateUnsupported(f"{capabilities.store} cannot do this: {feature.value}")

    @property
    def capabilities(self) -> Capabilities:
        """Return what the store of this process can do."""
        return self._find().access.store.capabilities

    # -- values --------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        """Return a value; None: there is none."""
        access = self._find().access
        return await access.call(access.store.get, self._key(key))

    async def get_versioned(self, key: str) -> Versioned | None:
        """Return a value with the version that `compare_and_set` and `delete` take."""
        access = self._find().access
        return await access.call(access.store.get_versioned, self._key(key))

    async def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values that there are, in one round trip."""
        access, wanted = self._find().access, list(dict.fromkeys(keys))
        if not wanted:
            return {}
        found = await access.call(access.store.get_many, [self._key(key) for key in wanted])
        return {key: value for key, value in zip(wanted, found, strict=True) if value is not None}

    async def set(
        self,
        key: str,
        value: bytes,
        *,
        ttl: float | None = None,
        only_if: Literal["absent", "present"] | None = None,
    ) -> bool:
        """Write a value; return whether it was written.

        Args:
            key: of the value.
            value: bytes.
            ttl: seconds until it is gone; None: it stays.
            only_if: "absent": of several at once exactly one writes; "present": replaces.

        Raises:
            ValueTooLarge: for this store; see `capabilities`.
        """
        access = self._find().access
        args = self._key(key), self._value(access.store, value), self._ttl(access.store, ttl)
        return await access.call(access.store.set, *args, _WHEN[only_if])

    async def compare_and_set(
        self, key: str, value: bytes, version: Version, *, ttl: float | None = None
    ) -> bool:
        """Write a value if it is still the version that was read; return whether it was.

        Of several at once with one version exactly one writes.
        """
        access = self._find().access
        args = self._key(key), self._value(access.store, value), version
        return await access.call(access.store.compare_and_set, *args, self._ttl(access.store, ttl))

    async def delete(self, key: str, *, version: Version | None = None) -> bool:
        """Delete a value, with `version` only if it is still that; return whether it was."""
        access = self._find().access
        return await access.call(access.store.delete, self._key(key), version)

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Give a key a new time to live, from now on; return whether there is the key."""
        access = self._find().access
        return await access.call(access.store.touch, self._key(key), self._ttl(access.store, ttl))

    async def incr(self, key: str, by: int = 1, *, ttl: float | None = None) -> int:
        """Add to a number and return the sum; a missing one is 0.

        Args:
            key: of the number. `get` returns its decimal digits, and `set` may write them.
            by: what is added; below 0 needs "count_down".
            ttl: seconds until it is gone, counted from its creation: later calls do not
                change it.

        Raises:
            NotACounter: the value is not a whole number, or the sum needs more than 64 bits.
        """
        access = self._find().access
        if not -LARGEST_NUMBER <= by <= LARGEST_NUMBER:
            raise ValueError(f"{by} needs more than 64 bits")
        if by < 0:
            self._demand(access.store.capabilities, Feature.COUNT_DOWN)
        return await access.call(
            access.store.incr, self._key(key), by, self._ttl(access.store, ttl)
        )

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that begin so; those that come or go meanwhile may be among them.

        Raises:
            StateUnsupported: the store cannot list keys.
        """
        access = self._find().access
        self._demand(access.store.capabilities, Feature.SCAN)
        start = len(self._prefix)
        async for key in access.scan(self._prefix + prefix.encode()):
            yield key[start:].decode()

    # -- helpers -------------------------------------------------------------------

    async def get_json(self, key: str) -> Any:
        """Return a value that `set_json` has written; None: there is none, or it is null."""
        value = await self.get(key)
        return None if value is None else orjson.loads(value)

    async def set_json(self, key: str, value: Any, **options: Any) -> bool:
        """Write a value as JSON; options as for `set`."""
        return await self.set(key, orjson.dumps(value), **options)

    async def get_array(self, key: str) -> NDArray[Any] | None:
        """Return an array that `set_array` has written, read-only."""
        from hybrid.shared_state.arrays_as_bytes import array_of

        value = await self.get(key)
        return None if value is None else array_of(value)

    async def set_array(self, key: str, array: NDArray[Any], **options: Any) -> bool:
        """Write an array in the ``.npy`` format, never pickled; options as for `set`."""
        from hybrid.shared_state.arrays_as_bytes import bytes_of

        return await self.set(key, bytes_of(array), **options)

    # -- locks and messages ----------------------------------------------------------

    def lock(self, name: str, *, ttl: float = 10.0, wait: float = 0.0) -> Lock:
        """Return a lock for ``async with``; its value is the lease, with a fencing token.

        The lease is renewed while the body runs. If that fails the body is
        cancelled and `LockLost` raised.

        Args:
            name: of the lock.
            ttl: seconds after which it is free if its process has died.
            wait: seconds to wait while another task holds it.

        Raises:
            LockBusy: another task holds it (by the ``async with``).
            StateUnsupported: the store may forget locks.
        """
        self._demand(self.capabilities, Feature.LOCK)
        return Lock(self, name, ttl, wait)

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to those who have subscribed to a topic; each gets it at most once.

        Raises:
            ValueTooLarge: for this store; see `capabilities`.
        """
        access = self._find().access
        limit = access.store.capabilities.largest_message
        if len(message) > limit:
            raise ValueTooLarge(len(message), limit, access.store.capabilities.store)
        if len(topic.encode()) > 200:
            raise ValueError("a topic is at most 200 bytes long")
        await access.call(access.store.publish, f"{self.namespace}:{topic}", message)

    def subscribe(self, topic: str) -> Subscription:
        """Return the messages of a topic: ``async with`` it, then ``async for``."""
        return Subscription(self._find().topics, f"{self.namespace}:{topic}")

    # -- what every call checks ------------------------------------------------------

    def _key(self, key: str) -> bytes:
        full = self._prefix + key.encode()  # UnicodeEncodeError is a ValueError
        if len(full) > LARGEST_KEY:
            raise ValueError(f"a key of {len(full)} bytes is over the limit of {LARGEST_KEY}")
        return full

    @staticmethod
    def _value(store: Any, value: bytes) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"a value is bytes, not {type(value).__name__}; there is set_json")
        limit = store.capabilities.largest_value
        data = bytes(value)  # no copy of what is bytes already
        if len(data) > limit:
            raise ValueTooLarge(len(data), limit, store.capabilities.store)
        return data

    @staticmethod
    def _ttl(store: Any, ttl: float | None) -> float | None:
        if ttl is None:
            return None
        least = store.capabilities.smallest_ttl
        if not least <= ttl <= LONGEST_TTL:
            raise ValueError(f"a time to live of {ttl:g} s is not between {least:g} s and 10 years")
        return float(ttl)
