"""``@hybrid.cached``: results in shared state, computed once for the whole cluster.

One key holds everything, so that one compare-and-set decides:

    nothing  --add-->  flight  --swap-->  value  --(not fresh) swap-->  flight with the old value

The call that wins the add or the swap computes. The others wait, or take the old value.
A flight has a deadline, for the case that its worker dies.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import random
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, ParamSpec, TypeVar

import orjson

from hybrid.core.departure import current_departure
from hybrid.errors import StateUnavailable
from hybrid.shared_state.contract import Version
from hybrid.shared_state.state import State

P = ParamSpec("P")
R = TypeVar("R")

_HEAD = struct.Struct("<d8s")  # until when it holds, a random number
_NOTHING = b""
_PAUSES = (0.002, 0.05)  # s between two looks at a computation elsewhere, first and longest


def cached(
    ttl: float, *, stale: float = 0.0, patience: float = 30.0, namespace: str = "cached"
) -> Callable[[Callable[P, Awaitable[R]]], Cached[P, R]]:
    """Keep the results of an async function; one computation per arguments in the cluster.

    Results are JSON values, bytes or arrays; arguments are JSON values. While the
    store is away every call computes.

    Args:
        ttl: seconds that a result is fresh.
        stale: seconds after that for which it is still given to those who come
            while one of them computes a new one.
        patience: seconds after which a computation counts as lost with its worker.
        namespace: of the shared state.
    """

    def decorate(function: Callable[P, Awaitable[R]]) -> Cached[P, R]:
        return Cached(function, State(namespace), ttl, stale, patience)

    return decorate


@dataclass(frozen=True, slots=True)
class _Record:
    """What the key holds."""

    until: float  # Unix s: a value is fresh until then, a flight is believed until then
    token: bytes  # of the flight
    payload: bytes  # the value; of a flight the old one, or nothing
    version: Version = 0

    def packed(self) -> bytes:
        return _HEAD.pack(self.until, self.token) + self.payload


class Cached(Generic[P, R]):
    """A cached function. ``forget`` takes a result back."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        state: State,
        ttl: float,
        stale: float,
        patience: float,
    ) -> None:
        self._function, self._state = function, state
        self._ttl, self._stale, self._patience = ttl, stale, patience
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._running: dict[str, asyncio.Task[R]] = {}  # of this process, by key
        functools.update_wrapper(self, function)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result, from the store if it is there."""
        key = self._key(args, kwargs)
        task = self._running.get(key)
        if task is None:
            # Not part of this request: its client may leave, and others wait for the result.
            context = contextvars.copy_context()
            context.run(current_departure.set, None)
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._find(key, args, kwargs), context=context)
            self._running[key] = task
            task.add_done_callback(functools.partial(self._note_end, key))
        # Shielded: when one of those who wait for it leaves, the others still wait.
        return await asyncio.shield(task)

    def _note_end(self, key: str, task: asyncio.Task[R]) -> None:
        if self._running.get(key) is task:
            del self._running[key]

    async def forget(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Take a result back; one that is being computed at this moment is not kept."""
        key = self._key(args, kwargs)
        self._running.pop(key, None)
        await self._state.delete(key)

    def _key(self, args: Any, kwargs: Any) -> str:
        written = orjson.dumps([args, kwargs], option=orjson.OPT_SORT_KEYS)
        return f"{self._name[:200]}:{blake2b(written, digest_size=16).hexdigest()}"

    async def _find(self, key: str, args: Any, kwargs: Any) -> R:
        pause, longest = _PAUSES
        while True:
            token = None
            try:
                record = await self._read(key)
                if record is None or time.time() >= record.until:
                    token = await self._take_off(key, record)
            except StateUnavailable:
                return await self._function(*args, **kwargs)
            if token is not None:
                return await self._compute(key, token, args, kwargs)
            if record is not None and record.payload:
                result: R = _loaded(record.payload)  # fresh, or old while another one computes
                return result
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(longest, 2 * pause)

    async def _read(self, key: str) -> _Record | None:
        found = await self._state.get_versioned(key)
        if found is None or len(found.value) < _HEAD.size:
            return None
        until, token = _HEAD.unpack_from(found.value)
        return _Record(until, token, found.value[_HEAD.size :], found.version)

    async def _take_off(self, key: str, record: _Record | None) -> bytes | None:
        """Try to be the one that computes; return the flight's token, or None."""
        old = _NOTHING if record is None else record.payload
        flight = _Record(time.time() + self._patience, os.urandom(8), old)
        ttl = self._patience + self._stale
        if record is None:
            won = await self._state.set(key, flight.packed(), ttl=ttl, only_if="absent")
        else:
            won = await self._state.compare_and_set(key, flight.packed(), record.version, ttl=ttl)
        return flight.token if won else None

    async def _compute(self, key: str, token: bytes, args: Any, kwargs: Any) -> R:
        try:
            result = await self._function(*args, **kwargs)
        except BaseException:
            await self._land(key, token, None)
            raise
        await self._land(key, token, _dumped(result))
        return result

    async def _land(self, key: str, token: bytes, payload: bytes | None) -> None:
        """Write the result, or nothing, unless the key was forgotten or this flight overtaken."""
        try:
            record = await self._read(key)
            if record is None or record.token != token:
                return
            if payload is None:
                await self._state.delete(key, version=record.version)
                return
            value = _Record(time.time() + self._ttl, token, payload).packed()
            lives = self._ttl + self._stale
            await self._state.compare_and_set(key, value, record.version, ttl=lives)
        except StateUnavailable:
            return  # the caller has its result all the same


def _dumped(result: Any) -> bytes:
    """Return a result as bytes; numpy is asked only if it is loaded at all."""
    numpy = sys.modules.get("numpy")
    if isinstance(result, bytes):
        return b"b" + result
    if numpy is not None and isinstance(result, numpy.ndarray):
        from hybrid.shared_state.arrays_as_bytes import bytes_of

        return b"n" + bytes_of(result)
    return b"j" + orjson.dumps(result)


def _loaded(payload: bytes) -> Any:
    kind, rest = payload[:1], payload[1:]
    if kind == b"b":
        return rest
    if kind == b"n":
        from hybrid.shared_state.arrays_as_bytes import array_of

        return array_of(rest)
    return orjson.loads(rest)
