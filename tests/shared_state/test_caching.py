"""Cached results: computed once, given to all, and forgotten when that is wanted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid.core.departure import Departure, current_departure
from hybrid.errors import StateUnavailable
from hybrid.shared_state.caching import Cached, cached
from hybrid.shared_state.state import State
from tests.shared_state.conftest import connected, new_namespace, run, states, until

ROOT = Path(__file__).parent.parent.parent


class Work:
    """A computation that is finished when the test says so."""

    def __init__(self, result: Any = None) -> None:
        self.calls: list[Any] = []
        self.release = asyncio.Event()
        self.result = result

    async def __call__(self, name: str = "") -> Any:
        self.calls.append(name)
        number = len(self.calls)
        await self.release.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return number if self.result is None else self.result


def wrapped(work: Work, state: State, **more: Any) -> Cached[Any, Any]:
    async def compute(name: str = "") -> Any:
        return await work(name)

    return Cached(compute, state, **{"ttl": 100.0, "stale": 0.0, "patience": 20.0, **more})


async def started(work: Work, calls: int) -> None:
    async def reached() -> bool:
        return len(work.calls) >= calls

    await until(reached, f"{calls} computations")


def ask_in_processes(verb: str, url: str, processes: int) -> list[Any]:
    command = [sys.executable, "-m", "tests.shared_state.computing", verb, url, new_namespace()]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(processes)
    ]
    answers = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    return [json.loads(answer) for answer in answers]


def test_one_process_of_all_computes(url: str) -> None:
    answers = ask_in_processes("cached", url, 3)
    assert answers == [[1] * 8] * 3


def test_a_result_is_computed_once_for_each_of_its_arguments(url: str) -> None:
    async def body() -> None:
        async with states(url, 2) as (one, other):
            work = Work()
            first, second = wrapped(work, one), wrapped(work, other)
            work.release.set()
            assert await first("a") == 1
            assert await second("a") == 1
            assert await second("b") == 2
            assert await first(name="b") == 3  # written differently, it is another key
            await second.forget("a")
            assert await first("a") == 4

    run(body())


def test_bytes_arrays_and_json_come_back_as_they_were() -> None:
    async def body() -> None:
        async with states("sqlite:") as (state,):
            for result in (b"\x00raw", {"a": [1, None]}, "text", False):
                work = Work(result)
                work.release.set()
                function = wrapped(work, state)
                await function.forget()
                assert await function() == result
                assert await function() == result
                assert len(work.calls) == 1
            work = Work(np.arange(6).reshape(2, 3))
            work.release.set()
            function = wrapped(work, state)
            await function.forget()
            await function()
            assert np.array_equal(await function(), work.result)

    run(body())


def test_the_old_result_is_given_while_one_computes_the_new_one() -> None:
    async def body() -> None:
        async with states("sqlite:") as (state,):
            work = Work()
            work.release.set()
            here, there = (wrapped(work, state, ttl=0.01, stale=100.0) for _ in range(2))
            assert await here() == 1
            work.release.clear()

            async def refreshes() -> bool:
                asking.append(asyncio.create_task(here()))
                await asyncio.sleep(0)
                return len(work.calls) == 2

            asking: list[asyncio.Task[Any]] = []
            await until(refreshes, "the result is not fresh any more")
            assert await there() == 1
            assert await there() == 1
            work.release.set()
            assert set(await asyncio.gather(*asking)) == {1, 2}
            assert len(work.calls) == 2

    run(body())


def test_one_that_is_forgotten_while_it_is_computed_is_not_kept() -> None:
    async def body() -> None:
        async with states("sqlite:") as (state,):
            work = Work()
            function = wrapped(work, state)
            old = asyncio.create_task(function())
            await started(work, 1)
            await function.forget()
            new = asyncio.create_task(function())
            await started(work, 2)
            work.release.set()
            assert (await old, await new) == (1, 2)
            assert await function() == 2

    run(body())


def test_a_failure_is_told_to_those_who_wait_and_is_not_kept() -> None:
    async def body() -> None:
        async with states("sqlite:") as (state,):
            work = Work(ZeroDivisionError())
            function = wrapped(work, state)
            asking = [asyncio.create_task(function()) for _ in range(3)]
            await started(work, 1)
            work.release.set()
            ends = await asyncio.gather(*asking, return_exceptions=True)
            assert [type(end) for end in ends] == [ZeroDivisionError] * 3
            work.result = "better"
            assert await function() == "better"

    run(body())


def test_the_work_of_a_process_that_died_is_done_by_another_one() -> None:
    async def body() -> None:
        async with states("sqlite:") as (state,):
            lost, work = Work(), Work()
            dead = asyncio.create_task(wrapped(lost, state, patience=0.05)())
            await started(lost, 1)
            work.release.set()
            assert await wrapped(work, state)() == 1
            lost.result = "late"
            lost.release.set()
            assert await dead == "late"
            assert await wrapped(work, state)() == 1  # and does not overwrite its result

    run(body())


def test_a_client_that_leaves_takes_no_one_elses_result_along() -> None:
    async def body() -> None:
        async with states("sqlite:") as (state,):
            work = Work()
            seen: list[object] = []

            async def compute() -> Any:
                seen.append(current_departure.get())
                return await work()

            function = Cached(compute, state, 100.0, 0.0, 20.0)
            current_departure.set(Departure())
            leaving, staying = (asyncio.create_task(function()) for _ in range(2))
            await started(work, 1)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            work.release.set()
            assert await staying == 1
            assert seen == [None]

    run(body())


def test_without_its_store_every_call_computes(tmp_path: Path) -> None:
    async def body() -> None:
        async with connected(f"sqlite:{tmp_path}/missing/file") as store:
            work = Work()
            work.release.set()
            function = wrapped(work, State("x", find=lambda: store))
            assert [await function() for _ in range(3)] == [1, 2, 3]
            with pytest.raises(StateUnavailable):
                await function.forget()

    run(body())


def test_the_decorator_keeps_the_functions_name() -> None:
    @cached(ttl=10)
    async def price(symbol: str) -> float:
        """Return a price."""
        return float(len(symbol))

    async def body() -> None:
        assert await price("abc") == 3.0
        assert await price("abc") == 3.0

    run(body())
    assert price.__doc__ == "Return a price."
    assert price.__name__ == "price"  # type: ignore[attr-defined]
