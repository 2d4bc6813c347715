"""Any sequence of calls of two clients gives what a dictionary would give."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from hybrid.errors import NotACounter
from hybrid.shared_state.contract import Feature, Version, whole_number
from hybrid.shared_state.state import State
from tests.shared_state.conftest import states

T = TypeVar("T")

KEYS = st.sampled_from(["a", "b", "c d", "é\n"])
VALUES = st.one_of(st.binary(max_size=20), st.integers(0, 99).map(lambda n: str(n).encode()))
TTLS = st.sampled_from([None, 500.0, 90 * 86400.0])
CLIENTS = st.integers(0, 1)


class Machine(RuleBasedStateMachine):
    """Two clients beside a dictionary. Versions are remembered with the value they were read of."""

    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, bytes] = {}
        self.seen: dict[str, tuple[Version, bytes]] = {}
        self.is_current: dict[str, bool] = {}
        self.stack = AsyncExitStack()
        self.clients: list[State] = self.do(self.stack.enter_async_context(states(self.url, 2)))

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def write(self, key: str, value: bytes) -> None:
        self.model[key] = value
        self.is_current[key] = False

    @rule(who=CLIENTS, key=KEYS)
    def get(self, who: int, key: str) -> None:
        assert self.do(self.clients[who].get(key)) == self.model.get(key)

    @rule(who=CLIENTS, keys=st.lists(KEYS))
    def get_many(self, who: int, keys: list[str]) -> None:
        found = {key: self.model[key] for key in keys if key in self.model}
        assert self.do(self.clients[who].get_many(keys)) == found

    @rule(who=CLIENTS, key=KEYS)
    def get_versioned(self, who: int, key: str) -> None:
        found = self.do(self.clients[who].get_versioned(key))
        assert (found.value if found else None) == self.model.get(key)
        if found:
            self.seen[key], self.is_current[key] = (found.version, found.value), True

    @rule(
        who=CLIENTS, key=KEYS, value=VALUES, ttl=TTLS,
        only_if=st.sampled_from([None, "absent", "present"]),
    )  # fmt: skip
    def set(self, who: int, key: str, value: bytes, ttl: float | None, only_if: Any) -> None:
        writes = only_if is None or (only_if == "present") == (key in self.model)
        assert self.do(self.clients[who].set(key, value, ttl=ttl, only_if=only_if)) == writes
        if writes:
            self.write(key, value)

    @rule(who=CLIENTS, key=KEYS, value=VALUES, ttl=TTLS)
    def compare_and_set(self, who: int, key: str, value: bytes, ttl: float | None) -> None:
        if key not in self.seen:
            return
        version, read = self.seen[key]
        written = self.do(self.clients[who].compare_and_set(key, value, version, ttl=ttl))
        self.agree(key, read, written)
        if written:
            self.write(key, value)

    @rule(who=CLIENTS, key=KEYS, with_version=st.booleans())
    def delete(self, who: int, key: str, with_version: bool) -> None:
        if with_version and key in self.seen:
            version, read = self.seen[key]
            deleted = self.do(self.clients[who].delete(key, version=version))
            self.agree(key, read, deleted)
        else:
            deleted = self.do(self.clients[who].delete(key))
            assert deleted == (key in self.model)
        if deleted:
            self.model.pop(key)
            self.is_current[key] = False

    def agree(self, key: str, read: bytes, happened: bool) -> None:
        """A current version wins; one of another value never does; what is between may differ."""
        if self.is_current[key]:
            assert happened
        elif self.model.get(key) != read:
            assert not happened

    @rule(who=CLIENTS, key=KEYS, ttl=TTLS)
    def touch(self, who: int, key: str, ttl: float | None) -> None:
        assert self.do(self.clients[who].touch(key, ttl)) == (key in self.model)
        self.is_current[key] = False  # a store may count it as a change

    @rule(who=CLIENTS, key=KEYS, by=st.integers(-5, 5), ttl=TTLS)
    def incr(self, who: int, key: str, by: int, ttl: float | None) -> None:
        client = self.clients[who]
        if Feature.COUNT_DOWN not in client.capabilities.features:
            by = abs(by)
        number = whole_number(self.model.get(key, b"0"))
        if number is None:
            try:
                self.do(client.incr(key, by, ttl=ttl))
            except NotACounter:
                return
            raise AssertionError(f"{self.model[key]!r} was counted on")
        assert self.do(client.incr(key, by, ttl=ttl)) == number + by
        self.write(key, str(number + by).encode())

    def teardown(self) -> None:
        async def leave() -> None:
            for key in self.model:
                await self.clients[0].delete(key)
            await self.stack.aclose()

        self.do(leave())


def test_a_store_behaves_as_a_dictionary_would(url: str) -> None:
    with asyncio.Runner() as runner:
        on_this = type("OnThisStore", (Machine,), {"url": url, "loop": runner.get_loop()})
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            on_this,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
