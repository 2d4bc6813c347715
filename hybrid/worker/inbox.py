"""Messages that wait until a program asks for the next one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

logger = logging.getLogger("hybrid.error")

LIMIT = 1000  # messages that wait; more are refused, and an error is logged for each

M = TypeVar("M")


class Inbox(Generic[M]):
    """An async iterator that ends with the order to leave, after what came before it."""

    def __init__(self, opened: Callable[[], object], limit: int = LIMIT) -> None:
        """Call `opened` once, when somebody begins to iterate."""
        self._opened: Callable[[], object] | None = opened
        self._limit = limit
        self._waiting: deque[M] = deque()
        self._news = asyncio.Event()
        self._has_ended = False

    def opened(self) -> None:
        """Note that somebody takes messages from now on."""
        if self._opened is not None:
            call, self._opened = self._opened, None
            call()

    def put(self, message: M) -> bool:
        """Keep a message; return whether there was room for it."""
        if len(self._waiting) >= self._limit:
            logger.error("a message is refused: %d wait for the program to read", self._limit)
            return False
        self._waiting.append(message)
        self._news.set()
        return True

    def end(self) -> None:
        """End the iteration when what waits has been taken."""
        self._has_ended = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        while not self._waiting:
            if self._has_ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
