"""Where pool processes come from. Only the primary forks; a worker asks it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SpawnedProcess:
    """A pool process that was just forked; its receiver owns socket and pidfd."""

    sock: socket.socket  # AF_UNIX stream, non-blocking; the other end is the process's
    pid: int  # for logs only: it may belong to another process by the time of a kill
    pidfd: int  # -1 where the kernel has none


class Spawner(Protocol):
    """Makes pool processes."""

    async def spawn(self) -> SpawnedProcess:
        """Return a new pool process, which runs `member_main`.

        Raises:
            PoolBroken: no process can be made now.
        """
        ...
