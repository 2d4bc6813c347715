"""A process that asks for one cached result, or for a limited one, many times.

``python -m tests.shared_state.computing VERB URL NAMESPACE``: prints what it got as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from hybrid.shared_state.caching import Cached
from hybrid.shared_state.rate_limiting import RateLimit
from hybrid.shared_state.state import State
from tests.shared_state.conftest import connected

TASKS = 8
RATE, BURST = 100.0, 20


async def ask_cached(state: State) -> list[int]:
    """Ask at once in every task; the computation counts itself."""

    async def compute(name: str) -> int:
        await asyncio.sleep(0.2)
        return await state.incr(f"computed:{name}")

    cached = Cached(compute, state, ttl=100.0, stale=0.0, patience=20.0)
    return list(await asyncio.gather(*(cached("it") for _ in range(TASKS))))


async def ask_limited(state: State) -> list[tuple[float, float]]:
    """Ask until 60 requests were allowed; return between which moments each was."""
    limit = RateLimit("x", rate=RATE, burst=BURST, open_when_away=False)
    limit._state = state  # the store of this process is not that of a server
    allowed: list[tuple[float, float]] = []

    async def ask() -> None:
        while len(allowed) < 60:
            began = time.time()
            decision = await limit.take("key")
            if decision.is_allowed:
                allowed.append((began, time.time()))
            else:
                await asyncio.sleep(decision.retry_after / 2)

    await asyncio.gather(*(ask() for _ in range(TASKS)))
    return allowed


async def main(verb: str, url: str, namespace: str) -> None:
    async with connected(url, timeout=20.0) as store:
        state = State(namespace, find=lambda: store)
        print(json.dumps(await {"cached": ask_cached, "limited": ask_limited}[verb](state)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
