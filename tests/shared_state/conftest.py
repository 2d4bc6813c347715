"""States on stores of their own, and the stores that the contract is tried on."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest

from hybrid.config import StateConfig
from hybrid.shared_state.address import open_store
from hybrid.shared_state.current_store import CurrentStore
from hybrid.shared_state.state import State
from tests.shared_state.servers import SERVERS, RealServer

T = TypeVar("T")

PATIENCE = 30.0  # s; a test that waits longer has failed
_numbers = itertools.count(1)


def run(body: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine to its end on a loop of its own."""

    async def bounded() -> T:
        async with asyncio.timeout(2 * PATIENCE):
            return await body

    return asyncio.run(bounded())


async def until(
    condition: Callable[[], Awaitable[object]], what: str, deadline: float = PATIENCE
) -> None:
    """Ask `condition` again and again until it holds."""
    end = asyncio.get_running_loop().time() + deadline
    while not await condition():
        assert asyncio.get_running_loop().time() < end, f"not within {deadline:g} s: {what}"
        await asyncio.sleep(0.02)


def new_namespace() -> str:
    """Return a namespace that no other test uses."""
    return f"t{os.getpid()}.{next(_numbers)}"


@asynccontextmanager
async def connected(
    url: str, timeout: float = 5.0, connections: int = 8
) -> AsyncIterator[CurrentStore]:
    """Connect to a store as one worker does."""
    settings = StateConfig(url=url, timeout=timeout, connections=connections)
    store = CurrentStore(
        settings, lambda: open_store(url, lambda: ":memory:", timeout, connections)
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def states(
    url: str, count: int = 1, namespace: str = "", **settings: Any
) -> AsyncIterator[list[State]]:
    """Make states that share a namespace, each on a connection of its own."""
    namespace = namespace or new_namespace()
    async with connected(url, **settings) as first:
        made = [State(namespace, find=lambda: first)]
        if count == 1:
            yield made
        else:
            async with states(url, count - 1, namespace, **settings) as rest:
                yield made + rest


class Servers:
    """The servers of a session of tests, each started when the first test wants it."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._started: dict[str, RealServer] = {}

    def url(self, name: str) -> str:
        if name == "mongodb" and os.environ.get("MONGODB_URL"):
            return os.environ["MONGODB_URL"]
        if name not in self._started:
            self._started[name] = SERVERS[name](self._folder(name)).start()
        return self._started[name].url

    def end(self) -> None:
        for server in self._started.values():
            server.kill()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Start servers in a folder that their own users can reach, and end them."""
    with TemporaryDirectory(prefix="hybrid-state-") as top:
        Path(top).chmod(0o755)

        def folder(name: str) -> Path:
            made = Path(top) / name
            made.mkdir(mode=0o755)
            return made

        started = Servers(folder)
        yield started
        started.end()


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> str:
    """Return the address of each kind of store in turn."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/state.db"
    return servers.url(request.param)


async def settled(state: State) -> int:
    """Return the counter when the server has executed all that it had read of the killed."""

    async def is_still() -> bool:
        first = await state.get("n")
        await asyncio.sleep(0.1)
        return first == await state.get("n")

    await until(is_still, "the counter stands still")
    return int(await state.get("n") or b"0")
