"""How often something may be asked, over all workers: the generic cell rate algorithm (GCRA).

One number per key: the time at which the next request would be exactly on
schedule. Each allowed request moves it on by one interval; as long as it is not
further ahead than a burst, requests are allowed. https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from hybrid.errors import RateLimited, StateUnavailable
from hybrid.shared_state.state import State

_TURNS = 100  # attempts to move the number on while other workers do the same
_SPARE_TTL = 2.0  # s; Memcached may forget so much too early, and a burst would be given twice


@dataclass(frozen=True, slots=True)
class RateDecision:
    """What became of one request."""

    is_allowed: bool
    limit: int  # the burst
    remaining: int  # requests that would be allowed at once now
    retry_after: float  # s; 0: it is allowed
    reset_after: float  # s until `remaining` is `limit` again


class RateLimit:
    """`rate` requests per `per` seconds for each key, and `burst` of them at once.

    As a hook of Falcon: ``@falcon.before(limit.check)``.
    """

    def __init__(
        self,
        name: str,
        *,
        rate: float,
        per: float = 1.0,
        burst: int = 1,
        by: Callable[[Any], str] | None = None,
        open_when_away: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Count in shared state.

        Args:
            name: of the limit; the same one is counted together.
            rate: requests ...
            per: ... in so many seconds.
            burst: that may come at once.
            by: returns the key of a Falcon request; None: the client's address.
            open_when_away: whether requests are allowed while the store is away.
            clock: Unix seconds; those of all hosts have to agree.
        """
        if rate <= 0 or per <= 0 or burst < 1:
            raise ValueError("a limit has a rate, a time and a burst above 0")
        self._interval, self._burst = per / rate, burst
        self._by = by or (lambda req: str(req.remote_addr))
        self._open, self._clock = open_when_away, clock
        self._state = State(f"rate.{name}")
        self._lines: dict[str, tuple[asyncio.Lock, int]] = {}  # those of this process, by key

    async def take(self, key: str) -> RateDecision:
        """Ask for one request, and count it if it is allowed. `key` is any text."""
        # A client may choose the key (a header), and a store's keys are short: a digest stands
        # for it, or a long one would be an error of the server.
        stored = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        # In line within a worker: only workers compete for the number, and not all their tasks.
        async with self._in_line(stored):
            try:
                return await self._take(stored)
            except StateUnavailable:
                if not self._open:
                    raise
                return RateDecision(True, self._burst, self._burst, 0.0, 0.0)

    async def check(self, req: Any, resp: Any, *resource_and_params: Any) -> None:
        """Take one for a Falcon request, and say so in ``RateLimit-*`` headers.

        Raises:
            RateLimited: it is not allowed; `hybrid.install` makes it a 429.
        """
        key = self._by(req)
        decision = await self.take(key)
        resp.set_header("RateLimit-Limit", str(decision.limit))
        resp.set_header("RateLimit-Remaining", str(decision.remaining))
        resp.set_header("RateLimit-Reset", str(math.ceil(decision.reset_after)))
        if not decision.is_allowed:
            raise RateLimited(key, decision.retry_after)

    @asynccontextmanager
    async def _in_line(self, key: str) -> AsyncIterator[None]:
        lock, waiting = self._lines.get(key) or (asyncio.Lock(), 0)
        self._lines[key] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._lines[key]
            if waiting == 1:
                del self._lines[key]
            else:
                self._lines[key] = lock, waiting - 1

    async def _take(self, key: str) -> RateDecision:
        for _ in range(_TURNS):
            found = await self._state.get_versioned(key)
            now = self._clock()
            on_time = now if found is None else max(now, float(found.value))
            decision = self._decide(on_time - now)
            if not decision.is_allowed:
                return decision
            value = repr(on_time + self._interval).encode()
            ttl = decision.reset_after + _SPARE_TTL
            if found is None:
                won = await self._state.set(key, value, ttl=ttl, only_if="absent")
            else:
                won = await self._state.compare_and_set(key, value, found.version, ttl=ttl)
            if won:
                return decision
            await asyncio.sleep(random.uniform(0, 0.002))
        raise StateUnavailable("shared state", f"{_TURNS} attempts to count were overtaken", 0.1)

    def _decide(self, ahead: float) -> RateDecision:
        """Decide on a request while the number is `ahead` seconds ahead of the clock."""
        room = self._burst * self._interval - ahead
        # A billionth of an interval: 0.1 + 0.2 must not cost a request.
        allowed = room >= self._interval * (1 - 1e-9)
        left = room - self._interval if allowed else room
        remaining = max(0, math.floor(left / self._interval + 1e-6))
        retry = 0.0 if allowed else self._interval - room
        return RateDecision(
            allowed, self._burst, remaining, retry, self._burst * self._interval - left
        )
