"""The worker's side of the arena: blocks for arguments, and loans of results.

     request body --> block of region 0 ------- read-only view --> job
     caller's view <-- block of region k <----- laid once -------- its result

Rule 1: no code counts references by hand. A block is free when the last array
        or memoryview over it is gone, on whatever thread that happens.
Rule 2: a process that still refers to a block after its job (a memo, a global)
        gets that block quarantined: it is not used again before the process is
        dead. Otherwise it would read the next client's data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hybrid.pool.arena.window import RegionInfo
from hybrid.system.memory.arena import (
    ARENA_BYTES,
    LARGE,
    REGION_BYTES,
    REGIONS,
    Arena,
    Region,
    block_size,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class _Results:
    """The worker's knowledge of the region of a pool process; outlives the process."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.live: dict[int, int] = {}  # offset -> bytes; views of them exist
        self.over: deque[int] = deque()  # offsets whose last view is gone; any thread appends
        self.unreported: dict[int, int] = {}  # of those, what the process has not been told
        self.reported: dict[int, int] = {}  # ... what it was told last

    def collect(self) -> bool:
        """Move what is over from `live` to `unreported`; return whether anything is live."""
        while self.over:
            offset = self.over.popleft()
            self.unreported[offset] = self.live.pop(offset)
        return bool(self.live)

    def give_back(self, arena: Arena) -> bool:
        """Give the pages of what is over back; return whether anything is live.

        The process does not know yet that these are free, so it does not write to them.
        """
        more = self.collect()
        for offset, size in self.unreported.items():
            arena.give_back(offset, block_size(size))
        return more


class Blocks:
    """The arena of one worker. Event-loop thread only, apart from rule 1."""

    def __init__(self, fd: int, used: Callable[[], None]) -> None:
        """Map the arena.

        Args:
            fd: the arena.
            used: called whenever blocks were taken: `tidy` will be needed.

        Raises:
            OSError: no address space for it.
        """
        self._arena = Arena(fd)
        self.used = used
        self._region = Region(0, REGION_BYTES)
        self._over: deque[int] = deque()
        self._unused = [_Results(k * REGION_BYTES) for k in range(REGIONS - 1, 0, -1)]
        self._loans: list[RegionLoan] = []

    def allocate(self, size: int) -> tuple[int, memoryview] | None:
        """Return (offset, writable view) of a block for arguments; None: no room."""
        self._collect()
        offset = self._region.allocate(size)
        if offset is None:
            return None
        self.used()
        return offset, self._arena.lend(offset, size, self._over.append)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialised array in a block (a plain one if it is small).

        A job on the process lane gets it without any copy.
        """
        import numpy as np

        kind = np.dtype(dtype)
        size = kind.itemsize
        for n in shape:
            size *= n
        block = self.allocate(size) if size >= LARGE and not kind.hasobject else None
        if block is None:
            return np.empty(shape, kind)
        return np.frombuffer(block[1], kind).reshape(shape)

    def place(self, raw: memoryview) -> tuple[int, memoryview] | None:
        """Return where `raw` lies in the arena, copying it there unless it does already."""
        offset = self._arena.find(raw)
        if offset is not None:
            return offset, raw
        block = self.allocate(raw.nbytes)
        if block is not None:
            block[1][:] = raw
        return block

    def lend_region(self) -> RegionLoan | None:
        """Return a region for a new pool process; None: all are taken."""
        if not self._unused:
            return None
        loan = RegionLoan(self, self._arena, self._unused.pop())
        self._loans.append(loan)
        return loan

    def end(self, loan: RegionLoan, results: _Results) -> None:
        """Take the region of a dead process back."""
        results.collect()
        at = results.start  # what it laid and never told is garbage, between the live blocks
        for offset, size in sorted(results.live.items()):
            self._arena.give_back(at, offset - at)
            at = offset + block_size(size)
        self._arena.give_back(at, results.start + REGION_BYTES - at)
        results.unreported.clear()
        self._loans.remove(loan)
        self._unused.append(results)

    def tidy(self) -> bool:
        """Give pages back that were not used lately; return whether there may be more."""
        self._collect()
        for offset, size in self._region.tidy():
            self._arena.give_back(offset, size)
        busy = [loan.tidy() for loan in self._loans]
        orphans = [self._tidy_orphans(results) for results in self._unused]
        return self._region.spare or bool(self._region.taken) or any(busy) or any(orphans)

    def _tidy_orphans(self, results: _Results) -> bool:
        """Give back what has outlived its process; return whether there may be more."""
        more = results.give_back(self._arena)
        results.unreported.clear()
        return more

    def _collect(self) -> None:
        while self._over:
            self._region.free(self._over.popleft())


class RegionLoan:
    """What one pool process has to do with the arena, until it is dead."""

    def __init__(self, blocks: Blocks, arena: Arena, results: _Results) -> None:
        self._blocks, self._arena, self._results = blocks, arena, results
        self._lent: list[tuple[int, memoryview]] = []  # arguments of the running job
        self.quarantine: list[memoryview] = []  # what its jobs have kept

    def info(self) -> RegionInfo:
        """Return what the process has to know."""
        results = self._results
        results.give_back(self._arena)
        results.unreported.clear()
        live = tuple(results.live.items())
        return RegionInfo(ARENA_BYTES, results.start, REGION_BYTES, live)

    def place(self, raw: memoryview) -> int | None:
        """Lay an argument into the arena, for as long as the job runs."""
        placed = self._blocks.place(raw)
        if placed is None:
            return None
        self._lent.append(placed)
        return placed[0]

    def pop_freed(self) -> tuple[int, ...]:
        """Return the blocks of its region that it may use again; said once."""
        results = self._results
        if results.over:
            results.collect()
        if not results.unreported:
            return ()
        freed, results.reported = tuple(results.unreported), results.unreported
        results.unreported = {}
        return freed

    def restore_freed(self, freed: tuple[int, ...]) -> None:
        """Take back what `pop_freed` has just returned: the message was never sent."""
        if freed:
            self._results.unreported.update(self._results.reported)

    def adopt(self, offset: int, size: int) -> memoryview:
        """Return a result that the process has laid; writable, it is the caller's now."""
        self._results.live[offset] = size
        self._blocks.used()
        return self._arena.lend(offset, size, self._results.over.append)

    def release_arguments(self) -> None:
        """The job is over: its arguments may go."""
        self._lent.clear()

    def quarantine_arguments(self, offsets: tuple[int, ...]) -> int:
        """Quarantine arguments of the running job (rule 2); return the bytes in quarantine.

        To hold the views is the whole quarantine: a block is free when its last view is
        gone (rule 1). Without it the next request's body would be laid into memory that
        the job's global or memo still shows to later jobs: one client's data to another.
        """
        self.quarantine += [view for offset, view in self._lent if offset in offsets]
        return sum(view.nbytes for view in self.quarantine)

    def tidy(self) -> bool:
        """Give the pages of finished results back; return whether there may be more."""
        return self._results.give_back(self._arena)

    def end(self) -> None:
        """The process is dead: none of its references exists any more."""
        self._lent.clear()
        self.quarantine.clear()
        self._blocks.end(self, self._results)
