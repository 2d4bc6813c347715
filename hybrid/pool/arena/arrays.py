"""Where the pool's large arrays live: the arena, kept tidy, or nowhere special."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hybrid.pool.arena.blocks import Blocks
from hybrid.pool.arena.worker_resources import WorkerResources

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_TIDY_EVERY = 1.0  # s; a block that is free for two rounds goes back to the system


class ArenaArrays:
    """Owns the worker's side of the arena, and the timer that keeps it small."""

    def __init__(self, resources: WorkerResources | None, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.blocks: Blocks | None = None
        if resources is not None and resources.arena_fd is not None:
            try:
                self.blocks = Blocks(resources.arena_fd, self._tidy_later)
            except OSError:  # no address space (RLIMIT_AS): arrays travel in frames
                self.blocks = None

    def new(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialised array, in a block of the arena if it is large enough."""
        if self.blocks is not None:
            return self.blocks.array(shape, dtype)
        import numpy as np

        return np.empty(shape, dtype)

    def _tidy_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_TIDY_EVERY, self._tidy)

    def _tidy(self) -> None:
        assert self.blocks is not None
        self._timer = None
        if self.blocks.tidy():
            self._tidy_later()

    def close(self) -> None:
        """Stop tidying; the pages go back when the last process unmaps them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
