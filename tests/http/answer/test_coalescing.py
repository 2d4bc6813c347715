"""Answers of one turn of the loop leave together; whoever is alone does not wait."""

from __future__ import annotations

from typing import Any

import pytest

from hybrid.http.answer import coalescing as module
from hybrid.http.answer.coalescing import PATIENCE, WriteCoalescer
from hybrid.http.connection.flow import Flow
from tests.http.conftest import HELLO, Routes, answer, judge, serving


class Loop:
    """What an outbox asks of the event loop."""

    def __init__(self) -> None:
        self.soon: list[Any] = []

    def call_soon(self, callback: Any) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


class Wire:
    """A transport that remembers."""

    def __init__(self, log: list[bytes]) -> None:
        self.log = log

    def write(self, data: bytes) -> None:
        self.log.append(data)

    closing = False

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.log.append(b"close")

    def abort(self) -> None:
        self.log.append(b"abort")


class Bench:
    """An outbox, its loop, its clock, and as many connections as a test wants."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loop = Loop()
        self.outbox = WriteCoalescer(self.loop, lambda: self.now)  # type: ignore[arg-type]
        self.log: list[bytes] = []

    def flow(self) -> Flow:
        flow = Flow(None)  # type: ignore[arg-type]
        flow.transport = Wire(self.log)
        return flow

    def gathering(self) -> Bench:
        """Answer so many that they are held from now on."""
        while not self.loop.soon:
            self.outbox.send(self.flow(), b"before")
        self.outbox.send(self.flow(), b"before")
        self.loop.turn()
        self.log.clear()
        return self


def test_who_is_alone_does_not_wait() -> None:
    bench = Bench()

    for _ in range(32):
        bench.outbox.send(bench.flow(), b"a")

    assert bench.log == [b"a"] * 32
    assert bench.loop.soon == []


def test_every_32nd_waits_for_its_turn_and_being_alone_changes_nothing() -> None:
    bench = Bench()
    for _ in range(32):
        bench.outbox.send(bench.flow(), b"a")
    bench.log.clear()

    bench.outbox.send(bench.flow(), b"look")
    assert bench.log == []
    bench.loop.turn()
    assert bench.log == [b"look"]

    bench.outbox.send(bench.flow(), b"next")
    assert bench.log == [b"look", b"next"]


def test_answers_of_one_turn_leave_in_a_row() -> None:
    bench = Bench().gathering()

    for data in (b"1", b"2", b"3"):
        bench.outbox.send(bench.flow(), data)
    assert bench.log == []
    bench.loop.turn()

    assert bench.log == [b"1", b"2", b"3"]


def test_nothing_is_held_longer_than_patience() -> None:
    bench = Bench().gathering()
    bench.outbox.send(bench.flow(), b"1")
    bench.now += PATIENCE / 2
    bench.outbox.send(bench.flow(), b"2")
    assert bench.outbox.due == pytest.approx(100.0 + PATIENCE)

    bench.now += PATIENCE
    bench.outbox.send(bench.flow(), b"3")

    assert bench.log == [b"1", b"2", b"3"]
    assert bench.outbox.due == float("inf")
    bench.loop.turn()
    assert bench.log == [b"1", b"2", b"3"]


def test_what_else_a_connection_writes_comes_behind_the_answer_it_holds() -> None:
    bench = Bench().gathering()
    flow, other = bench.flow(), bench.flow()
    bench.outbox.send(other, b"other")
    bench.outbox.send(flow, b"first")

    flow.write(b"second")
    assert bench.log == [b"first", b"second"]
    bench.loop.turn()

    assert bench.log == [b"first", b"second", b"other"]


def test_the_next_answer_of_a_connection_comes_behind_the_one_it_holds() -> None:
    bench = Bench().gathering()
    flow = bench.flow()

    bench.outbox.send(flow, b"first")
    bench.outbox.send(flow, b"second")

    assert bench.log == [b"first", b"second"]


@pytest.mark.parametrize("end", ["close", "abort"])
def test_an_end_comes_behind_the_answer_that_is_held(end: str) -> None:
    bench = Bench().gathering()
    flow = bench.flow()
    bench.outbox.send(flow, b"answer")

    getattr(flow, end)()
    bench.loop.turn()

    assert bench.log == [b"answer", end.encode()]


def test_a_client_that_left_does_not_keep_the_others_answers() -> None:
    bench = Bench().gathering()
    gone, other = bench.flow(), bench.flow()
    bench.outbox.send(gone, b"gone")
    bench.outbox.send(other, b"other")

    gone.transport.closing = True
    bench.loop.turn()

    assert bench.log == [b"other"]


# -- in a server that holds every answer ---------------------------------------------


@pytest.fixture
def everything_is_held(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_PROBE_EVERY", 0)


@pytest.mark.parametrize("count", [1, 2, 16, 40])
def test_a_pipeline_and_its_end_are_answered(
    run: Any, everything_is_held: None, count: int
) -> None:
    async def main() -> None:
        async with serving(Routes()) as running:
            assert len(judge(await running.talk(HELLO * count), *["GET"] * count)) == count

    run(main())


def test_what_is_due_goes_before_the_next_handler_runs(
    run: Any, monkeypatch: Any, everything_is_held: None
) -> None:
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    log: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        log.append(b"handler")
        await answer(send, b"hello")

    async def main() -> None:
        async with serving(app) as running:
            shared = running.shared
            shared.coalescer._until_probe = 0
            flow = Flow(shared)
            flow.transport = Wire(log)
            client = await running.connect()
            await running.until(lambda: shared.connections)
            (connection,) = shared.connections

            shared.coalescer.send(flow, b"held")
            assert log == []
            connection.data_received(HELLO)

            assert log[0] == b"held"
            assert (await client.read_answer()).body == b"hello"
            assert log == [b"held", b"handler"]

    run(main())
