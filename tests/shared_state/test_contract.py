"""What every store promises, tried on each of them."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from hybrid.errors import LockBusy, LockLost, NotACounter, StateUnsupported, ValueTooLarge
from hybrid.shared_state.contract import LARGEST_NUMBER, Feature
from tests.shared_state.conftest import new_namespace, run, states, until

HOSTILE = [
    "",
    " ",
    "a b",
    "a\r\nset x 0 0 1\r\n1\r\n",
    "a\0b",
    "ä€😀",
    "%20",
    "*?[a]\\",
    "a" * 900,
    "€" * 300,
    "../../etc/passwd",
    "'; DROP TABLE state; --",
    "$where",
    "a.b.c",
    "\x7f\x01",
]


def test_a_value_is_read_as_it_was_written_until_it_is_deleted(url: str) -> None:
    async def body() -> None:
        async with states(url, 2) as (one, other):
            assert await one.get("key") is None
            assert not await one.delete("key")
            assert await one.set("key", b"\x00\xff value")
            assert await other.get("key") == b"\x00\xff value"
            assert await other.set("key", b"")
            assert await one.get("key") == b""
            assert await one.delete("key")
            assert await other.get("key") is None

    run(body())


def test_a_condition_of_set_decides(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            assert not await state.set("key", b"1", only_if="present")
            assert await state.get("key") is None
            assert await state.set("key", b"2", only_if="absent")
            assert not await state.set("key", b"3", only_if="absent")
            assert await state.get("key") == b"2"
            assert await state.set("key", b"4", only_if="present")
            assert await state.get("key") == b"4"

    run(body())


def test_many_are_read_at_once_and_the_missing_ones_left_out(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            await state.set("a", b"1")
            await state.incr("c", 7)
            assert await state.get_many(["a", "b", "c", "a"]) == {"a": b"1", "c": b"7"}
            assert await state.get_many([]) == {}

    run(body())


def test_a_counter_counts_and_can_be_read_and_written(url: str) -> None:
    async def body() -> None:
        async with states(url, 2) as (one, other):
            assert await one.incr("n") == 1
            assert await other.incr("n", 41) == 42
            assert await one.get("n") == b"42"
            assert await one.incr("n", 0) == 42
            await one.set("n", b"100")
            assert await other.incr("n", 5) == 105
            found = await one.get_versioned("n")
            assert found is not None
            await other.incr("n")
            assert not await one.compare_and_set("n", b"0", found.version)
            assert await one.get("n") == b"106"

    run(body())


def test_what_is_not_a_number_cannot_be_counted_and_stays(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            for value in (b"text", b"\xff\xfe", b""):
                await state.set("word", value)
                with pytest.raises(NotACounter):
                    await state.incr("word")
                assert await state.get("word") == value

    run(body())


def test_a_counter_has_64_bits_and_goes_below_zero_where_the_store_says_so(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            assert await state.incr("n", LARGEST_NUMBER - 1) == LARGEST_NUMBER - 1
            assert await state.incr("n") == LARGEST_NUMBER
            if Feature.COUNT_DOWN in state.capabilities.features:
                with pytest.raises(NotACounter):
                    await state.incr("n")
                assert await state.get("n") == str(LARGEST_NUMBER).encode()
                assert await state.incr("below", -3) == -3
                assert await state.incr("below", 2) == -1
                assert await state.get("below") == b"-1"
            else:
                with pytest.raises(StateUnsupported, match="count_down"):
                    await state.incr("n", -1)
            with pytest.raises(ValueError, match="64 bits"):
                await state.incr("n", 2**63)

    run(body())


def test_a_version_lets_one_write_and_no_second(url: str) -> None:
    async def body() -> None:
        async with states(url, 2) as (one, other):
            await one.set("key", b"first")
            found = await one.get_versioned("key")
            assert found is not None
            assert found.value == b"first"
            assert await one.compare_and_set("key", b"second", found.version)
            assert not await other.compare_and_set("key", b"third", found.version)
            assert await other.get("key") == b"second"
            assert not await other.delete("key", version=found.version)
            newer = await other.get_versioned("key")
            assert newer is not None
            assert await other.delete("key", version=newer.version)
            assert not await one.compare_and_set("key", b"fourth", newer.version)
            assert await one.get_versioned("key") is None

    run(body())


def test_a_key_that_came_back_with_another_value_has_another_version(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            await state.set("key", b"old")
            found = await state.get_versioned("key")
            assert found is not None
            await state.delete("key")
            await state.set("key", b"new")
            assert not await state.compare_and_set("key", b"x", found.version)

    run(body())


def test_a_key_goes_when_its_time_is_over_and_not_before(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            about = state.capabilities
            ttl = max(0.3, 2 * about.smallest_ttl)
            await state.set("kept", b"1")
            for key in ("set", "conditional", "touched", "counted", "swapped"):
                await state.set("swapped", b"0")
                began = time.monotonic()
                if key == "set":
                    await state.set(key, b"1", ttl=ttl)
                elif key == "conditional":
                    await state.set(key, b"1", ttl=ttl, only_if="absent")
                elif key == "touched":
                    await state.set(key, b"1", ttl=1000)
                    assert await state.touch(key, ttl)
                elif key == "counted":
                    await state.incr(key, ttl=ttl)
                    await state.incr(key, ttl=1000)  # creation has decided
                else:
                    found = await state.get_versioned(key)
                    assert found is not None
                    assert await state.compare_and_set(key, b"1", found.version, ttl=ttl)

                async def is_gone(key: str = key) -> bool:
                    return await state.get(key) is None

                await until(is_gone, f"{key} has expired")
                assert time.monotonic() - began >= ttl - about.ttl_error
                assert await state.get_versioned(key) is None
                assert not await state.touch(key, 10)
                assert not await state.set(key, b"2", only_if="present")
                assert await state.set(key, b"2", only_if="absent")
            assert await state.get("kept") == b"1"

    run(body())


def test_a_counter_begins_anew_when_its_time_is_over(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            ttl = max(0.1, state.capabilities.smallest_ttl)
            await state.incr("n", 5, ttl=ttl)

            async def is_new() -> bool:
                return await state.incr("n", 0, ttl=1000) == 0

            await until(is_new, "the counter has expired")
            assert await state.incr("n") == 1

    run(body())


def test_times_that_no_store_keeps_are_refused_and_long_ones_taken(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            for ttl in (0, -1, state.capabilities.smallest_ttl / 2, 1e10, float("nan")):
                with pytest.raises(ValueError, match="time to live"):
                    await state.set("key", b"1", ttl=ttl)
            for days in (29, 31, 400):
                await state.set("key", b"1", ttl=days * 86400)
                assert await state.get("key") == b"1"
            assert await state.touch("key", None)
            assert await state.get("key") == b"1"

    run(body())


def test_hostile_keys_are_keys_like_others(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            for number, key in enumerate(HOSTILE):
                assert await state.set(key, str(number).encode(), only_if="absent"), key
            found = await state.get_many(HOSTILE)
            assert found == {key: str(n).encode() for n, key in enumerate(HOSTILE)}
            for number, key in enumerate(HOSTILE):
                assert await state.incr(key) == number + 1
                assert await state.delete(key)
            for key in ("\ud800", "x" * 1100):
                with pytest.raises(ValueError):
                    await state.get(key)

    run(body())


def test_keys_are_listed_by_prefix(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            if Feature.SCAN not in state.capabilities.features:
                with pytest.raises(StateUnsupported, match="scan"):
                    await anext(state.scan())
                return
            keys = {f"user:{n}" for n in range(1200)}
            await asyncio.gather(*(state.set(key, b"1") for key in keys))
            for key in HOSTILE:
                await state.set(f"h:{key}", b"1")
            await state.set("user:gone", b"1", ttl=0.001)

            async def has_expired() -> bool:
                return await state.get("user:gone") is None

            await until(has_expired, "user:gone has expired")
            assert sorted([key async for key in state.scan("user:")]) == sorted(keys)
            assert {key async for key in state.scan("h:")} == {f"h:{key}" for key in HOSTILE}
            assert len([key async for key in state.scan()]) == len(keys) + len(HOSTILE)
            assert [key async for key in state.scan("user:*")] == []

    run(body())


def test_a_large_value_fits_and_a_larger_one_is_refused(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            limit = state.capabilities.largest_value
            assert limit >= 1_000_000
            value = bytes(range(256)) * (min(limit, 2**20) // 256)
            await state.set("large", value)
            assert await state.get("large") == value
            with pytest.raises(ValueTooLarge):
                await state.set("large", bytes(limit + 1))
            assert await state.get("large") == value
            with pytest.raises(TypeError, match="bytes"):
                await state.set("text", "text")  # type: ignore[arg-type]

    run(body())


def test_namespaces_do_not_meet(url: str) -> None:
    async def body() -> None:
        space = new_namespace()
        async with (
            states(url, namespace=space) as (a,),
            states(url, namespace=f"{space}.b") as (b,),
        ):
            await a.set("key", b"a")
            await b.set("key", b"b")
            assert await a.get("key") == b"a"
            assert await b.get("key") == b"b"

    run(body())


def test_json_and_arrays_are_values(url: str) -> None:
    async def body() -> None:
        async with states(url) as (state,):
            await state.set_json("user", {"name": "Jörg", "ids": [1, 2]}, ttl=100)
            assert await state.get_json("user") == {"name": "Jörg", "ids": [1, 2]}
            array = np.arange(12.0).reshape(3, 4)
            await state.set_array("array", array)
            read = await state.get_array("array")
            assert read is not None
            assert np.array_equal(read, array)
            assert not read.flags.writeable
            with pytest.raises(ValueError, match=r"[Oo]bject"):
                await state.set_array("objects", np.array([object()]))
            assert await state.get_json("none") is None

    run(body())


def test_what_is_published_reaches_every_subscription_of_its_topic(url: str) -> None:
    async def body() -> None:
        async with (
            states(url) as (state,),
            state.subscribe("news") as one,
            state.subscribe("news") as two,
            state.subscribe("other") as other,
        ):
            await state.publish("news", b"\x00first")
            await state.publish("other", b"elsewhere")
            await state.publish("news", b"second")
            for reader in (one, two):
                assert [await anext(reader), await anext(reader)] == [b"\x00first", b"second"]
            assert await anext(other) == b"elsewhere"
            limit = state.capabilities.largest_message
            await state.publish("news", bytes(limit))
            assert await anext(one) == bytes(limit)
            with pytest.raises(ValueTooLarge):
                await state.publish("news", bytes(limit + 1))

    run(body())


def test_a_lock_is_held_by_one_and_its_tokens_grow(url: str) -> None:
    async def body() -> None:
        async with states(url, 2) as (one, other):
            if Feature.LOCK not in one.capabilities.features:
                with pytest.raises(StateUnsupported, match="lock"):
                    one.lock("door")
                return
            inside, tokens = 0, []

            async def enter(number: int) -> None:
                nonlocal inside
                async with (one, other)[number % 2].lock("door", wait=20) as lease:
                    inside += 1
                    assert inside == 1
                    tokens.append(lease.token)
                    await asyncio.sleep(0)
                    inside -= 1

            await asyncio.gather(*map(enter, range(12)))
            assert len(tokens) == 12
            assert tokens == sorted(set(tokens))
            async with one.lock("door"):
                with pytest.raises(LockBusy):
                    async with other.lock("door"):
                        pass
            async with other.lock("door"):
                pass

    run(body())


def test_a_lock_is_renewed_while_it_is_used_and_its_loss_ends_the_body(url: str) -> None:
    async def body() -> None:
        async with states(url, 2) as (one, other):
            if Feature.LOCK not in one.capabilities.features:
                return
            ttl = 0.6
            async with one.lock("door", ttl=ttl):
                began = time.monotonic()
                while time.monotonic() - began < 2.5 * ttl:
                    assert await other.get("lock:door") is not None
                    await asyncio.sleep(0.02)

            async def lose() -> None:
                async with one.lock("door", ttl=ttl):
                    await other.set("lock:door", b"stolen")
                    await asyncio.sleep(60)

            with pytest.raises(LockLost):
                await lose()
            assert await other.get("lock:door") == b"stolen"

    run(body())


def test_many_tasks_share_few_connections(url: str) -> None:
    async def body() -> None:
        async with states(url, connections=3, timeout=20.0) as (state,):
            await asyncio.gather(*(state.incr("n") for _ in range(2000)))
            assert await state.get("n") == b"2000"

    run(body())
