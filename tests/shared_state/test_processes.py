"""What a store promises when several processes use it, are cancelled, or are killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.shared_state.conftest import new_namespace, run, settled, states, until
from tests.shared_state.hammer import TASKS, Board

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 4


class Hammers:
    """Processes that use one store, and their figures."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.namespace = url, new_namespace()
        self._path = folder / "board"
        self.board = Board(self._path, PROCESSES)
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, verb: str) -> None:
        number = len(self.running) % PROCESSES
        words = (verb, self.url, self.namespace, str(self._path), str(number))
        command = [sys.executable, "-m", "tests.shared_state.hammer", *words]
        self.running.append(subprocess.Popen(command, cwd=ROOT))

    def join(self) -> None:
        assert [process.wait(60) for process in self.running] == [0] * len(self.running)

    def kill(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def hammers(url: str, tmp_path: Path) -> Iterator[Hammers]:
    made = Hammers(url, tmp_path)
    yield made
    made.kill()


def _each(hammers: Hammers, verb: str) -> None:
    for _ in range(PROCESSES):
        hammers.start(verb)
    hammers.join()


def test_of_all_that_add_a_key_exactly_one_wins(hammers: Hammers) -> None:
    _each(hammers, "add")
    assert hammers.board.begun() == 60 * PROCESSES * TASKS
    assert hammers.board.confirmed() == 60


def test_of_all_that_swap_one_version_exactly_one_wins(hammers: Hammers) -> None:
    async def begin() -> None:
        async with states(hammers.url, namespace=hammers.namespace) as (state,):
            await state.set("swapped", b"0")

    async def end() -> bytes | None:
        async with states(hammers.url, namespace=hammers.namespace) as (state,):
            return await state.get("swapped")

    run(begin())
    _each(hammers, "swap")
    assert hammers.board.confirmed() == 15 * PROCESSES * TASKS
    assert run(end()) == str(15 * PROCESSES * TASKS).encode()


def test_a_counter_is_exact_when_processes_are_killed_in_the_middle(hammers: Hammers) -> None:
    """What was confirmed is counted, what was begun is counted once or not at all."""

    async def body() -> None:
        board = hammers.board

        async def more(least: int) -> None:
            async def reached() -> bool:
                return board.confirmed() >= least

            await until(reached, f"{least} are counted")

        for _ in range(3):
            before = board.confirmed()
            for _ in range(PROCESSES):
                hammers.start("count")
            await more(before + 300)
            hammers.kill()
            async with states(hammers.url, namespace=hammers.namespace) as (state,):
                total = await settled(state)
            assert board.confirmed() <= total <= board.begun()

    run(body())


# MongoDB's driver leaves a socket to the garbage collector when its connecting is cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cancelled_call_harms_no_other(url: str) -> None:
    """The next one on that connection must not get its answer."""

    async def body() -> None:
        chance = random.Random(1)
        async with states(url, connections=4) as (state,):
            names = [f"key{n}" for n in range(40)]
            for name in names:
                await state.set(name, f"value of {name} ".encode() * 200)
            wrong: list[str] = []

            async def read(name: str) -> None:
                if await state.get(name) != f"value of {name} ".encode() * 200:
                    wrong.append(name)

            for _ in range(300):
                task = asyncio.create_task(read(chance.choice(names)))
                if chance.random() < 0.7:
                    turns = chance.randrange(12)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for name in names:
                await read(name)
            assert not wrong

    run(body())


# MongoDB's driver leaves a socket to the garbage collector when its connecting is cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cancelled_count_is_counted_once_or_not_at_all(url: str) -> None:
    async def body() -> None:
        chance = random.Random(2)
        async with states(url, connections=4) as (state,):
            await state.incr("n", 0)
            confirmed = begun = 0
            for _ in range(200):
                task = asyncio.create_task(state.incr("n"))
                begun += 1
                for _ in range(chance.randrange(10)):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                    confirmed += 1

            assert confirmed <= await settled(state) <= begun

    run(body())
