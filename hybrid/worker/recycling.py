"""A worker's eye on its own age, requests and memory."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from hybrid.config import RestartConfig
from hybrid.core.recycling import Limits
from hybrid.system.heap import give_back
from hybrid.system.processes import resident_set_size

_RSS_EVERY = 1.0  # s between two looks at the memory; one costs some 10 µs


class Recycler:
    """Asks once, when the first limit is reached. Looked at by the pulse."""

    def __init__(self, settings: RestartConfig, leave: Callable[[str], None]) -> None:
        """Call `leave` with the reason. The age counts from now."""
        self._limits = Limits.draw(
            settings.max_requests,
            settings.max_requests_jitter,
            settings.worker_lifetime,
            settings.worker_max_rss,
            random.Random().random,
        )
        self._born, self._leave = time.monotonic(), leave
        self._rss: int | None = None
        self._rss_at = self._born  # the next look
        self._asked = not self._limits.any

    def look(self, requests: int) -> None:
        """Ask to be replaced, if it is time."""
        if self._asked:
            return
        now = time.monotonic()
        if self._limits.rss and now >= self._rss_at:
            self._rss, self._rss_at = self._memory(self._limits.rss), now + _RSS_EVERY
        reason = self._limits.reached(requests, now - self._born, self._rss)
        if reason is not None:
            self._asked = True
            self._leave(reason)

    @staticmethod
    def _memory(limit: int) -> int | None:
        """Return the memory in use; what is free and only kept does not count above `limit`."""
        memory = resident_set_size(os.getpid())
        if memory is not None and memory > limit and give_back():
            memory = resident_set_size(os.getpid())
        return memory
