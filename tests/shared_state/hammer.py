"""A process that uses a store as hard as it can; see `test_processes`.

``python -m tests.shared_state.hammer VERB URL NAMESPACE BOARD NUMBER``: its figures are
two numbers in the file BOARD, in the place of its NUMBER, so that they outlive a SIGKILL.
"""

from __future__ import annotations

import asyncio
import mmap
import sys
from pathlib import Path

from hybrid.shared_state.state import State
from tests.shared_state.conftest import states

TASKS = 8


class Board:
    """Calls that were begun and calls that were confirmed, of every process."""

    def __init__(self, path: Path, processes: int = 0) -> None:
        if processes:
            path.write_bytes(bytes(16 * processes))
        with path.open("r+b") as file:
            self.numbers = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")

    def begun(self) -> int:
        return sum(self.numbers[0::2])

    def confirmed(self) -> int:
        return sum(self.numbers[1::2])


async def count(state: State, board: Board, mine: int) -> None:
    """Count without an end."""
    while True:
        board.numbers[2 * mine] += 1
        await state.incr("n")
        board.numbers[2 * mine + 1] += 1


async def add(state: State, board: Board, mine: int) -> None:
    """Try to be the first, for each of many keys."""
    for key in range(60):
        board.numbers[2 * mine] += 1
        if await state.set(f"add:{key}", b"mine", only_if="absent"):
            board.numbers[2 * mine + 1] += 1


async def swap(state: State, board: Board, mine: int) -> None:
    """Add to a value by compare-and-set until as often as wanted."""
    for _ in range(15):
        while True:
            board.numbers[2 * mine] += 1
            found = await state.get_versioned("swapped")
            assert found is not None
            value = str(int(found.value) + 1).encode()
            if await state.compare_and_set("swapped", value, found.version):
                board.numbers[2 * mine + 1] += 1
                break


async def main(verb: str, url: str, namespace: str, path: str, number: str) -> None:
    board = Board(Path(path))
    task = {"count": count, "add": add, "swap": swap}[verb]
    async with states(url, namespace=namespace, timeout=20.0) as (state,):
        await asyncio.gather(*(task(state, board, int(number)) for _ in range(TASKS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
