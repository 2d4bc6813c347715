"""This process as a member of a cluster; a worker sets the real membership."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from hybrid.errors import NotInCluster
from hybrid.shared_state.cluster_topics import cluster_topics

To = int | str  # a slot number, "primary", "leader"


class Membership(Protocol):
    """What an application can do with the rest of the cluster. Event-loop thread only."""

    slot: int
    is_leader: bool

    async def send(self, to: To, body: Any) -> None:
        """Send one message."""
        ...

    async def broadcast(self, body: Any) -> list[int]:
        """Send a message to every other worker."""
        ...

    async def request(self, to: To, body: Any, timeout: float) -> Any:
        """Send a message and wait for its reply."""
        ...

    async def ping(self, to: To, timeout: float) -> float:
        """Return the seconds to a process and back."""
        ...

    async def serve(self, app: Any) -> None:
        """Serve an application until the order to leave."""
        ...

    def messages(self) -> AsyncIterator[Any]:
        """Return the messages without a handler."""
        ...


class Alone:
    """Without a cluster (a test, a script, another server): leads, and can reach no worker."""

    slot = 0
    is_leader = True

    async def send(self, to: To, body: Any) -> None:
        """Raise NotInCluster."""
        raise NotInCluster(f"no message to {to!r}: this process is not a worker of `hybrid serve`")

    async def broadcast(self, body: Any) -> list[int]:
        """Return no slots."""
        return []

    async def request(self, to: To, body: Any, timeout: float) -> Any:
        """Raise NotInCluster."""
        await self.send(to, body)

    async def ping(self, to: To, timeout: float) -> float:
        """Raise NotInCluster."""
        await self.send(to, None)
        return 0.0

    async def serve(self, app: Any) -> None:
        """Raise NotInCluster: no address was opened."""
        raise NotInCluster("call serve() from a function passed to `Primary.fork`")

    def messages(self) -> AsyncIterator[Any]:
        """Raise NotInCluster: no message can arrive."""
        raise NotInCluster("call messages() from a function passed to `Primary.fork`")


_membership: Membership = Alone()


def set_membership(membership: Membership) -> None:
    """Set this process's membership; once per worker, before the application is imported."""
    global _membership  # one fact about the process
    _membership = membership
    cluster_topics.broadcast = membership.broadcast


def membership() -> Membership:
    """Return this process's membership."""
    return _membership
