"""Published messages over the cluster's own links, for stores that have no such thing.

They reach the workers of this cluster, at most once: one that reads too slowly
misses some.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from hybrid.errors import MailError
from hybrid.shared_state.contract import Deliver

LARGEST_MESSAGE = 40_000  # bytes; in base64, with its topic, it fits into a message of the cluster
_MARK = "hybrid.topic"  # key of a message that is ours and not the application's

Broadcast = Callable[[Any], Awaitable[object]]


async def _reach_none(body: Any) -> None:
    """Stand in for the cluster where there is none."""


class ClusterTopics:
    """The listeners of this process, and the way to the others."""

    def __init__(self) -> None:
        self.broadcast: Broadcast = _reach_none
        self._listeners: list[Deliver] = []

    async def publish(self, topic: str, message: bytes) -> None:
        """Send to the listeners of this process and to every other worker."""
        for deliver in list(self._listeners):
            deliver(topic, message)
        body = {_MARK: topic, "message": base64.b64encode(message).decode()}
        with contextlib.suppress(MailError):  # at most once
            await self.broadcast(body)

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Deliver every message until this is cancelled."""
        self._listeners.append(deliver)
        ready()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._listeners.remove(deliver)

    def take(self, body: Any) -> bool:
        """Take a message that another worker has sent; return whether it was one of ours."""
        if not isinstance(body, dict) or _MARK not in body:
            return False
        message = base64.b64decode(body["message"])
        for deliver in list(self._listeners):
            deliver(body[_MARK], message)
        return True


cluster_topics = ClusterTopics()  # one fact about the process
