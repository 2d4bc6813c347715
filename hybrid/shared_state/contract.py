"""What every store does: the verbs, what they promise, and what a store says of itself.

The promises are the weakest that are useful. Values are bytes, keys are bytes
that hold UTF-8. A key that has expired is never returned later than
`Capabilities.ttl_error` seconds after its time. `incr`, `compare_and_set`, and
`set` with a condition are atomic over all processes: of several at once, one
wins. A call that fails with `StateUnavailable` has happened once or not at all.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol

Version = int | bytes  # opaque: it is only given back to the store that it came from
Deliver = Callable[[str, bytes], None]  # topic, message

LARGEST_KEY = 1024  # bytes, with the namespace
LONGEST_TTL = 10 * 365 * 86400.0  # s
LARGEST_NUMBER = 2**63 - 1  # a counter lies between this and its negative


class Feature(StrEnum):
    """What some stores have and others have not."""

    SCAN = "scan"  # keys can be listed by prefix
    LOCK = "lock"  # nothing is forgotten before its time, so a lock can be trusted
    COUNT_DOWN = "count_down"  # incr takes negative numbers
    ANY_HOST = "any_host"  # published messages reach the workers of other hosts


class Condition(Enum):
    """When `set` writes."""

    ALWAYS = "always"
    ABSENT = "absent"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do."""

    store: str  # its name, for messages
    features: frozenset[Feature]
    largest_value: int  # bytes
    largest_message: int  # bytes that `publish` takes
    smallest_ttl: float  # s
    ttl_error: float  # s that a key may live too long, or end too early


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value, and what `compare_and_set` wants to know of it."""

    value: bytes
    version: Version


class Store(Protocol):
    """One kind of store. Keys arrive checked, values are bytes of a size that it takes."""

    capabilities: Capabilities
    # What its driver raises when the store is away, and when it refuses one command.
    away: tuple[type[Exception], ...]
    refused: tuple[type[Exception], ...]

    async def get(self, key: bytes) -> bytes | None:
        """Return a value; None: there is none."""
        ...

    async def get_versioned(self, key: bytes) -> Versioned | None:
        """Return a value and its version."""
        ...

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in one round trip."""
        ...

    async def set(self, key: bytes, value: bytes, ttl: float | None, when: Condition) -> bool:
        """Write; return whether the condition held."""
        ...

    async def compare_and_set(
        self, key: bytes, value: bytes, version: Version, ttl: float | None
    ) -> bool:
        """Write if the value is still that version."""
        ...

    async def delete(self, key: bytes, version: Version | None) -> bool:
        """Delete, if it is still that version; return whether there was something."""
        ...

    async def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give a key a new time to live, from now on; return whether it exists."""
        ...

    async def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Add to a number and return the sum; it is created with `ttl`, which stays.

        Raises:
            NotACounter: the value is not a whole number, or the sum is too large.
        """
        ...

    def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield the keys that begin so, each once, in no order."""
        ...

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to all who listen at this moment."""
        ...

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Hear every message until it is cancelled; call `ready` when it hears."""
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    async def close(self) -> None:
        """Give the connections back; nothing is called after it."""
        ...


Call = Callable[..., Awaitable[object]]


def new_version() -> int:
    """Return a number that no value has had: a deleted key must not come back with its version."""
    return int.from_bytes(os.urandom(8), "big") >> 1


def whole_number(value: bytes) -> int | None:
    """Return the number that a counter holds; None: the value is something else."""
    digits = value.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (digits[:1] == b"0" and value != b"0"):
        return None
    number = int(value)
    return number if abs(number) <= LARGEST_NUMBER else None
