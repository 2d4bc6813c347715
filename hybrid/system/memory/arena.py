"""Memory that a worker and its pool processes see at the same time.

One sparse memfd per worker, mapped once by each side for its whole life: it
has no name in any file system, so nothing is left behind by any kill, and it
is never truncated, so no view of it can ever raise SIGBUS. Address space costs
nothing; pages exist once they are touched and go back by MADV_REMOVE.

The arena is cut into regions of equal size. A region has one allocator, in one
process (`Region`); so allocating needs no lock and no message.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGE = 64 * 1024  # bytes from which a buffer goes through the arena
REGION_BYTES = 1 << 34  # 16 GiB of address space each
REGIONS = 64  # the worker's own, and one per pool process and its replacement
ARENA_BYTES = REGION_BYTES * REGIONS
_PAGE = mmap.PAGESIZE


def create_arena() -> int | None:
    """Return the descriptor of a new arena; None where the system has no memfd."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        fd = os.memfd_create("hybrid-arena", os.MFD_CLOEXEC)
    except OSError:
        return None
    try:
        os.ftruncate(fd, ARENA_BYTES)
    except OSError:  # RLIMIT_FSIZE
        os.close(fd)
        return None
    return fd


class Arena:
    """The arena, mapped into this process."""

    def __init__(self, fd: int) -> None:
        """Map the arena.

        Raises:
            OSError: no address space (RLIMIT_AS).
        """
        import numpy as np

        self._map = mmap.mmap(fd, ARENA_BYTES)
        if hasattr(mmap, "MADV_DONTDUMP"):
            self._map.madvise(mmap.MADV_DONTDUMP)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self._frombuffer = np.frombuffer
        self._address: int = self._bytes.__array_interface__["data"][0]

    def hide_from_children(self) -> None:
        """Keep this mapping out of every process that is forked from this one (Linux).

        A child that touches an array in it dies of SIGSEGV. Without this it would
        go on looking at blocks that are given to the next clients.
        """
        if hasattr(mmap, "MADV_DONTFORK"):
            self._map.madvise(mmap.MADV_DONTFORK)

    def lend(self, offset: int, size: int, returned: Callable[[int], object]) -> memoryview:
        """Return a view of a block; `returned(offset)` is called when the last user is gone.

        Every array made from the view, and every view of those, counts as a
        user. `returned` may be called on any thread.
        """
        view, exporter = self._export(offset, size)
        weakref.finalize(exporter, returned, offset).atexit = False
        return view

    def watch(self, offset: int, size: int) -> tuple[memoryview, weakref.ref[NDArray[np.uint8]]]:
        """Return a read-only view of a block, and a reference that dies with its last user."""
        view, exporter = self._export(offset, size)
        return view.toreadonly(), weakref.ref(exporter)

    def _export(self, offset: int, size: int) -> tuple[memoryview, NDArray[np.uint8]]:
        # Why the array in between: a memoryview keeps its exporter alive, and so
        # does every array over that memoryview; and an array can be watched by a
        # weak reference. (A numpy view of `exporter` would point past it, at
        # `_bytes`: never hand `exporter` itself out.)
        exporter = self._bytes[offset : offset + size]
        return exporter.data, exporter

    def find(self, raw: memoryview) -> int | None:
        """Return the offset of memory that lies in the arena already, else None."""
        address = self._frombuffer(raw, "u1").__array_interface__["data"][0]
        offset: int = address - self._address
        return offset if 0 <= offset < ARENA_BYTES else None

    def give_back(self, offset: int, size: int) -> None:
        """Return the pages of a block to the system; it reads as zeros afterwards."""
        first = -(-offset // _PAGE) * _PAGE
        last = (offset + size) // _PAGE * _PAGE
        if last > first:
            self._map.madvise(mmap.MADV_REMOVE, first, last - first)


class Region:
    """Allocates blocks in one part of the arena. Pure book-keeping.

    Blocks are whole pages (so their pages can be given back, and they are
    64-byte aligned), rounded up to eighths of a power of two, and reused by
    size, the one freed last first: its pages are still in the cache.
    """

    def __init__(self, start: int, size: int, live: tuple[tuple[int, int], ...] = ()) -> None:
        """Make an allocator for ``[start, start + size)`` that avoids `live` blocks."""
        self._next = max((offset + block_size(n) for offset, n in live), default=start)
        self._end = start + size
        self._taken: dict[int, int] = {}  # offset -> bytes of the block
        self._free: dict[int, list[int]] = {}  # bytes -> offsets, last freed last
        self._warm: dict[int, tuple[int, bool]] = {}  # offset -> bytes, free since the last tidy

    @property
    def spare(self) -> bool:
        """Whether free blocks still hold pages."""
        return bool(self._warm)

    @property
    def taken(self) -> int:
        """Bytes of the blocks in use."""
        return sum(self._taken.values())

    def allocate(self, size: int) -> int | None:
        """Return the offset of a block of at least `size` bytes; None: no room."""
        size = block_size(size)
        stack = self._free.get(size)
        if stack:
            offset = stack.pop()
            self._warm.pop(offset, None)
        elif self._next + size <= self._end:
            offset = self._next
            self._next += size
        else:
            return None
        self._taken[offset] = size
        return offset

    def free(self, offset: int) -> None:
        """Take a block back; one that was allocated before this allocator is ignored."""
        size = self._taken.pop(offset, 0)
        if size:
            self._free.setdefault(size, []).append(offset)
            self._warm[offset] = (size, False)

    def tidy(self) -> list[tuple[int, int]]:
        """Return the (offset, bytes) of blocks free since the last call: give them back."""
        cold = [(offset, size) for offset, (size, old) in self._warm.items() if old]
        self._warm = {offset: (size, True) for offset, (size, old) in self._warm.items() if not old}
        return cold


def block_size(size: int) -> int:
    """Return the bytes of a block that holds `size`: pages, in eighths of a power of two."""
    pages = max(1, -(-size // _PAGE))
    shift = max(0, pages.bit_length() - 4)
    return (-(-pages >> shift) << shift) * _PAGE
