"""A pool process's side of the arena: arguments to look at, room for results."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hybrid.system.memory.arena import Arena, Region


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """The part of the arena a process lays its results into."""

    arena: int  # bytes of the whole arena
    start: int  # offset of the region
    size: int  # bytes
    live: tuple[tuple[int, int], ...]  # (offset, bytes) that the worker still uses


class ArenaReader:
    """What one pool process sees of the arena.

    Arguments are read-only views of blocks of the worker; results are laid
    into blocks of this process's own region. The worker says, with a later
    job, which of those are no longer in use.
    """

    def __init__(self, fd: int, info: RegionInfo) -> None:
        self._arena = Arena(fd)
        # What a job forks may outlive the job, and its argument's block is used again.
        self._arena.hide_from_children()
        self._region = Region(info.start, info.size, info.live)
        self._threads = threading.active_count()
        self._lent: list[tuple[int, weakref.ref[Any]]] = []
        self._placed: list[int] = []  # blocks of the answer that is being made

    @property
    def spare(self) -> bool:
        """Whether free blocks still hold pages."""
        return self._region.spare

    def view(self, offset: int, size: int) -> memoryview:
        """Return a block as a read-only view, and remember that it was lent."""
        view, alive = self._arena.watch(offset, size)
        self._lent.append((offset, alive))
        return view

    def copy(self, offset: int, size: int) -> memoryview:
        """Return a private, writable copy of a block."""
        return memoryview(bytearray(self._arena.watch(offset, size)[0]))

    def end_loans(self) -> tuple[int, ...]:
        """End the loan of every view; return the offsets that are still in use.

        A reference cycle that only the garbage collector would find is not meant to keep
        anything; so it runs once (some ms) before the job is accused.
        """
        if any(alive() is not None for _, alive in self._lent):
            gc.collect()
        # A thread that goes on may read memory without a reference that could be seen.
        threads, before = threading.active_count(), self._threads
        self._threads = threads
        kept = tuple(o for o, alive in self._lent if threads > before or alive() is not None)
        self._lent.clear()
        self._placed.clear()
        return kept

    def place_result(self, raw: memoryview) -> int | None:
        """Copy a result into a block of this process; None: no room."""
        offset = self._region.allocate(raw.nbytes)
        if offset is not None:
            self._arena.lend(offset, raw.nbytes, int)[:] = raw
            self._placed.append(offset)
        return offset

    def free_results(self) -> None:
        """The answer will not be sent: its blocks are free."""
        self.free(self._placed)

    def free(self, freed: Iterable[int]) -> None:
        """Take back the blocks that the worker has finished with."""
        for offset in freed:
            self._region.free(offset)

    def tidy(self) -> None:
        """Give the pages of blocks back that have been free for a while."""
        for offset, size in self._region.tidy():
            self._arena.give_back(offset, size)
