"""Subscriptions of this process: one listener at the store, any number of readers here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from hybrid.shared_state.contract import Deliver

logger = logging.getLogger("hybrid.error")

_UNREAD = 1000  # messages of one subscription; then the oldest is dropped
_PAUSES = (0.05, 2.0)  # s between attempts to listen again, first and longest

Listen = Callable[[Deliver, Callable[[], None]], Awaitable[None]]


def pack(topic: str, message: bytes) -> bytes:
    """Return topic and message as one string of bytes, for stores with a single channel."""
    name = topic.encode()
    return struct.pack("<I", len(name)) + name + message


def unpack(packed: bytes) -> tuple[str, bytes]:
    """Return topic and message."""
    end = 4 + int(struct.unpack_from("<I", packed)[0])
    return packed[4:end].decode(), packed[end:]


class Subscription:
    """Messages of one topic, for one reader: ``async with`` it, then ``async for``.

    Every message reaches it at most once. What is published while the store is
    away, or while 1,000 messages are unread, is lost.
    """

    def __init__(self, topics: Topics, topic: str) -> None:
        self._topics, self._topic = topics, topic
        self._unread: deque[bytes] = deque(maxlen=_UNREAD)
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._topics.add(self._topic, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, ex: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._topics.remove(self._topic, self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._unread:
            self._news.clear()
            await self._news.wait()
        return self._unread.popleft()

    def put(self, message: bytes) -> None:
        """Keep a message for the reader."""
        self._unread.append(message)
        self._news.set()


class Topics:
    """Who reads what in this process. Listens while there is a reader."""

    def __init__(self, listen: Callable[[], Listen], failures: tuple[type[Exception], ...]) -> None:
        """Use the method `listen` of a store; what it raises is in `failures`."""
        self._listen, self._failures = listen, failures
        self._readers: dict[str, set[Subscription]] = {}
        self._task: asyncio.Task[None] | None = None
        self._hears = asyncio.Event()

    async def add(self, topic: str, reader: Subscription) -> None:
        """Begin to deliver to a reader; return when the store is listened to."""
        self._readers.setdefault(topic, set()).add(reader)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._hear())
        try:
            await self._hears.wait()
        except asyncio.CancelledError:
            await self.remove(topic, reader)
            raise

    async def remove(self, topic: str, reader: Subscription) -> None:
        """End it."""
        readers = self._readers.get(topic, set())
        readers.discard(reader)
        if not readers:
            self._readers.pop(topic, None)
        if not self._readers:
            await self.close()

    async def close(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        self._hears.clear()
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _hear(self) -> None:
        first, longest = _PAUSES
        pause = first
        while True:
            try:
                await self._listen()(self._deliver, self._hears.set)
            except self._failures as ex:
                self._hears.clear()
                logger.warning("subscriptions are interrupted, messages may be missed: %r", ex)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(longest, 2 * pause)

    def _deliver(self, topic: str, message: bytes) -> None:
        for reader in self._readers.get(topic, ()):
            reader.put(message)
