"""A server that stops, dies or comes back under load: typed errors, and then everything goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hybrid.errors import StateUnavailable
from hybrid.shared_state.access import Availability
from hybrid.shared_state.state import State
from tests.shared_state.conftest import connected, run, settled, states, until
from tests.shared_state.servers import SERVERS, RealServer

FORGETS = ("memcached", "mongodb")  # what they held when they are killed; MongoDB's stand-in does


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    with TemporaryDirectory(prefix="hybrid-state-") as folder:
        Path(folder).chmod(0o755)
        made = SERVERS[request.param](Path(folder)).start()
        yield made
        made.kill()


class Load:
    """Tasks that count without a pause, and what became of their calls."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.begun = self.confirmed = self.failed = 0

    async def _count(self) -> None:
        while True:
            self.begun += 1
            try:
                await self._state.incr("n")
            except StateUnavailable:
                self.failed += 1
                await asyncio.sleep(0.001)  # as a client that has got its 503
            else:
                self.confirmed += 1

    @asynccontextmanager
    async def running(self, tasks: int) -> AsyncIterator[Load]:
        running = [asyncio.create_task(self._count()) for _ in range(tasks)]
        try:
            yield self
        finally:
            for task in running:
                task.cancel()
            ends = await asyncio.gather(*running, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, asyncio.CancelledError)] == []

    async def more(self, what: str) -> None:
        """Wait until 50 more calls were confirmed, or have failed."""
        least = getattr(self, what) + 50

        async def reached() -> bool:
            return bool(getattr(self, what) >= least)

        await until(reached, f"{least} {what}")


# MongoDB's driver leaves a socket to the garbage collector when its connecting is cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["stopped", "killed", "restarted"])
def test_calls_fail_while_a_server_is_away_and_go_on_when_it_is_back(
    server: RealServer, how: str
) -> None:
    leave: Callable[[], object]
    leave = {"stopped": server.pause, "killed": server.kill, "restarted": server.stop}[how]

    async def body() -> None:
        async with states(server.url, timeout=1.0) as (state,):
            load = Load(state)
            async with load.running(40):
                await load.more("confirmed")
                leave()
                await load.more("failed")
                if how == "stopped":
                    server.resume()
                else:
                    await asyncio.to_thread(server.start)
                await load.more("confirmed")
            assert not isinstance(server, tuple)
            name = next(name for name, kind in SERVERS.items() if isinstance(server, kind))
            if how == "stopped" or name not in FORGETS:
                total = await settled(state)
                assert load.confirmed <= total <= load.begun

    run(body())


@pytest.mark.parametrize("server", ["redis", "postgresql"], indirect=True)
def test_a_subscription_is_back_when_its_server_is(server: RealServer) -> None:
    async def body() -> None:
        async with states(server.url, timeout=2.0) as (state,), state.subscribe("news") as reader:
            await state.publish("news", b"before")
            assert await anext(reader) == b"before"
            server.kill()
            await asyncio.to_thread(server.start)

            async def heard() -> bool:
                with suppress(StateUnavailable):
                    await state.publish("news", b"after")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        return await anext(reader) == b"after"
                return False

            await until(heard, "a message after the restart")

    run(body())


def test_a_server_that_was_never_there_is_a_typed_error(tmp_path: Path) -> None:
    async def body() -> None:
        for kind in SERVERS.values():
            async with connected(kind(tmp_path).url, timeout=1.0) as store:
                state = State("x", find=lambda store=store: store)  # type: ignore[misc]
                calls: list[Callable[[], Awaitable[object]]] = [
                    lambda state=state: state.get("key"),  # type: ignore[misc]
                    lambda state=state: state.incr("key"),  # type: ignore[misc]
                ]
                for call in calls * 3:
                    with pytest.raises(StateUnavailable):
                        await call()
                assert store.access.failures == 6
                assert store.access.availability.is_away

    run(body())


def test_while_a_store_is_away_one_call_tries_and_the_others_fail_at_once() -> None:
    now = 0.0
    availability = Availability(lambda: now)
    assert availability.may_ask()
    assert availability.note_failure("gone")
    assert not availability.note_failure("gone")
    assert not availability.may_ask()
    now = 10.0
    assert availability.may_ask()
    assert not availability.may_ask()
    availability.note_failure("gone")
    assert 0 < availability.retry_after() <= 2.0
    now = 20.0
    assert availability.may_ask()
    assert availability.note_success()
    assert availability.may_ask()
    assert not availability.note_success()
