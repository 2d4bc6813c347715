"""A store as one process uses it: opened when it is needed, bounded, timed, counted.

While the store is away every call fails at once, but for one attempt now and
then, later each time. So a store that hangs costs a time-out once, not once per request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from hybrid.errors import StateUnavailable
from hybrid.shared_state.contract import Store

logger = logging.getLogger("hybrid.error")

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # s between attempts while the store is away


class Availability:
    """Whether a store answers, and when it is asked again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_away = False
        self.reason = ""
        self._clock = clock
        self._is_trying = False
        self._pause = 0.0
        self._ask_at = 0.0

    def may_ask(self) -> bool:
        """Return whether the store may be asked; of those that wait for its return one may try."""
        if not self.is_away:
            return True
        now = self._clock()
        if now < self._ask_at:
            return False
        self._ask_at = now + _LONGEST_PAUSE  # unless this attempt has an outcome sooner
        self._is_trying = True
        return True

    def retry_after(self) -> float:
        """Return the seconds until the next attempt."""
        return max(0.0, self._ask_at - self._clock())

    def note_failure(self, reason: str) -> bool:
        """Take note of a failure; return whether it is the first of a row."""
        first, self.is_away, self.reason = not self.is_away, True, reason
        if not (first or self._is_trying):
            return False  # a call that was on its way when the first one failed
        self._is_trying = False
        self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
        # With jitter: the workers shall not come back all at the same moment.
        self._ask_at = self._clock() + self._pause * random.uniform(0.5, 1.0)
        return first

    def note_success(self) -> bool:
        """Take note of an answer; return whether the store was away before."""
        was_away, self.is_away, self._is_trying = self.is_away, False, False
        self._pause = 0.0
        return was_away


class StoreAccess:
    """Calls of one store. Belongs to one event loop."""

    def __init__(
        self, open_store: Callable[[], Store], shown: str, timeout: float, parallel: int
    ) -> None:
        """Open nothing yet.

        Args:
            open_store: makes the store; it connects with the first call.
            shown: the store's address without its password.
            timeout: seconds that one call may take.
            parallel: calls at once; more wait in line.
        """
        self.shown = shown
        self.calls = 0
        self.failures = 0
        self.has_answered = False
        self.availability = Availability()
        self._open, self._store = open_store, None
        self._timeout = timeout
        self._places = asyncio.Semaphore(parallel)

    _store: Store | None

    @property
    def store(self) -> Store:
        """Return the store, made now if this is the first use."""
        if self._store is None:
            self._store = self._open()
        return self._store

    async def call(self, verb: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Return ``await verb(*args)``.

        Raises:
            StateUnavailable: the store is away, was too slow, or refused.
        """
        self.calls += 1
        tries = self.availability.is_away
        if tries and not self.availability.may_ask():
            raise self._refuse()
        async with self._places:
            if self.availability.is_away and not tries:
                raise self._refuse()  # it went away while this call stood in line
            try:
                async with asyncio.timeout(self._timeout):
                    result = await verb(*args)
            except TimeoutError:
                raise self._note_away(f"no answer within {self._timeout:g} s") from None
            except self.store.away as ex:
                raise self._note_away(f"{type(ex).__name__}: {ex}") from ex
            except self.store.refused as ex:
                self.failures += 1
                raise self._unavailable(f"{type(ex).__name__}: {ex}") from ex
            if self.availability.is_away or not self.has_answered:
                self._note_answer()
            return result

    async def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield keys; each step is a call, so that none lasts longer than one may."""
        keys = self.store.scan(prefix)
        try:
            while True:
                key = await self.call(anext, keys, None)
                if key is None:
                    return
                yield key
        finally:
            await keys.aclose()  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Close what was opened, within the time of a call."""
        if self._store is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._store.close()
            except Exception as ex:  # a store that is away must not keep its worker
                logger.debug("shared state did not close in order: %r", ex)

    def _note_away(self, reason: str) -> StateUnavailable:
        self.failures += 1
        error = self._unavailable(reason)
        if self.availability.note_failure(error.reason):
            logger.warning("%s", error)
        return error

    def _refuse(self) -> StateUnavailable:
        self.failures += 1
        return self._unavailable(self.availability.reason)

    def _note_answer(self) -> None:
        self.has_answered = True
        if self.availability.note_success():
            logger.info("shared state answers again: %s", self.shown)

    def _unavailable(self, reason: str) -> StateUnavailable:
        return StateUnavailable(self.shown, reason, self.availability.retry_after())
