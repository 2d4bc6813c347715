"""This process as a member of a cluster; a worker puts the real thing here."""

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
        """Return the seconds to there and back."""
        ...

    async def serve(self, app: Any) -> None:
        """Serve an application until the order to leave."""
        ...

    def messages(self) -> AsyncIterator[Any]:
        """Return what comes and no handler takes."""
        ...


class Alone:
    """Without a cluster: a test, a script, another server. It leads, and has nobody to talk to."""

    slot = 0
    is_leader = True

    async def send(self, to: To, body: Any) -> None:
        """Refuse: nobody is there."""
        raise NotInCluster(f"no message to {to!r}: this process is not a worker of `hybrid serve`")

    async def broadcast(self, body: Any) -> list[int]:
        """Reach nobody."""
        return []

    async def request(self, to: To, body: Any, timeout: float) -> Any:
        """Refuse: nobody is there."""
        await self.send(to, body)

    async def ping(self, to: To, timeout: float) -> float:
        """Refuse: nobody is there."""
        await self.send(to, None)
        return 0.0

    async def serve(self, app: Any) -> None:
        """Refuse: nobody has opened a port."""
        raise NotInCluster("serve() belongs into a function that `Primary.fork` is given")

    def messages(self) -> AsyncIterator[Any]:
        """Refuse: nobody can write."""
        raise NotInCluster("messages() belongs into a function that `Primary.fork` is given")


_membership: Membership = Alone()


def set_membership(membership: Membership) -> None:
    """Put this process' membership here; once per worker, before the application is imported."""
    global _membership  # one fact about the process
    _membership = membership
    cluster_topics.broadcast = membership.broadcast


def membership() -> Membership:
    """Return this process' membership."""
    return _membership
