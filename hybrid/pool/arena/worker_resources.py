"""What a worker and its pool processes inherit from the primary, besides sockets.

The primary makes one set per worker before it forks it, keeps the descriptors
open for the processes it forks later, and closes them when the worker is gone.
Imports no numpy: the primary only passes descriptors on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hybrid.system.memory.arena import create_arena


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """Descriptors; both the worker and its pool processes keep them open."""

    arena_fd: int | None  # None: the system has no memfd, arrays travel in frames

    @property
    def fds(self) -> tuple[int, ...]:
        """Every descriptor, for a keep-list."""
        return () if self.arena_fd is None else (self.arena_fd,)

    def close(self) -> None:
        """Close them; mappings stay."""
        for fd in self.fds:
            os.close(fd)


def make_worker_resources() -> WorkerResources:
    """Make the resources of one worker."""
    return WorkerResources(create_arena())
