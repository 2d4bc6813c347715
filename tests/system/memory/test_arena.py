"""The arena: blocks never overlap, pages go back, views keep what they look at."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid.system.memory.arena import Arena, Region, block_size, create_arena


@pytest.fixture
def fd() -> Iterator[Any]:
    made = create_arena()
    assert made is not None
    yield made
    os.close(made)


@given(st.integers(1, 2**34))
def test_a_block_holds_its_bytes_in_whole_pages_and_wastes_little(size: int) -> None:
    block = block_size(size)

    assert block >= size
    assert block % 4096 == 0
    assert block <= max(4096, size * 1.25 + 4096)


@given(st.lists(st.tuples(st.integers(1, 300_000), st.booleans()), max_size=60))
def test_blocks_in_use_never_overlap(steps: Any) -> None:
    region, taken = Region(4096, 2**30), {}
    for size, frees in steps:
        offset = region.allocate(size)
        assert offset is not None
        assert offset % 64 == 0
        for other, length in taken.items():
            assert offset + size <= other or other + length <= offset
        taken[offset] = size
        if frees:
            gone = next(iter(taken))
            del taken[gone]
            region.free(gone)


def test_a_full_region_says_so() -> None:
    region = Region(0, 100 * 4096)

    assert region.allocate(64 * 4096) == 0
    assert region.allocate(64 * 4096) is None


def test_live_blocks_of_a_predecessor_are_left_alone() -> None:
    region = Region(0, 2**30, live=((0, 5000), (8192, 4000)))

    assert region.allocate(4096) >= 8192 + 4096


def test_a_block_goes_back_when_it_was_free_for_two_rounds() -> None:
    region = Region(0, 2**30)
    offset = region.allocate(10_000)
    region.free(offset)

    assert region.tidy() == []
    assert region.tidy() == [(offset, 12_288)]
    assert region.tidy() == []
    assert not region.spare


def test_the_last_view_returns_the_block(fd: int) -> None:
    arena, returned = Arena(fd), []
    view = arena.lend(8192, 100_000, returned.append)
    array = np.frombuffer(view, "u1")
    part = array[10:20].reshape(2, 5)

    del view, array
    gc.collect()
    assert returned == []
    del part
    gc.collect()
    assert returned == [8192]


def test_two_mappings_see_the_same_bytes_and_pages_go_back(fd: int) -> None:
    one, other = Arena(fd), Arena(fd)
    one.lend(0, 1_000_000, int)[:5] = b"hello"

    view, _ = other.watch(0, 1_000_000)

    assert bytes(view[:5]) == b"hello"
    assert view.readonly
    one.give_back(0, 1_003_520)
    assert os.fstat(fd).st_blocks == 0
    assert bytes(view[:5]) == bytes(5)


def test_memory_of_the_arena_is_recognised(fd: int) -> None:
    arena = Arena(fd)
    array = np.frombuffer(arena.lend(4096, 80_000, int), "f8")

    assert arena.find(array[2:].data.cast("B")) == 4096 + 16
    assert arena.find(np.ones(10).data.cast("B")) is None
