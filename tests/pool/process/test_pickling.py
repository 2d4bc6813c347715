"""Frames: whatever the cut of the stream, whatever the size."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.pool.process.pickling import FrameKind, Reader, decode, encode


class Fragments:
    """A socket that delivers a byte string in pieces of given sizes."""

    def __init__(self, data, sizes):
        self.data, self.sizes = memoryview(data), sizes

    def recv_into(self, into):
        size = next(self.sizes, len(into))
        piece = self.data[: min(size, len(into))]
        into[: len(piece)] = piece
        self.data = self.data[len(piece) :]
        return len(piece)


def joined(chunks):
    return b"".join(bytes(chunk) for chunk in chunks)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.integers(), st.binary(max_size=300), st.text(max_size=50)), max_size=8),
    st.lists(st.integers(1, 400), max_size=60),
    st.integers(0, 60_000),
)
def test_any_fragmentation_gives_the_same_messages(messages: Any, sizes: Any, floats: Any) -> None:
    messages = [*messages, np.arange(float(floats))]
    stream = b"".join(joined(encode(FrameKind.RUN, message)) for message in messages)
    reader, got = Reader(Fragments(stream, iter(sizes))), []

    while len(got) < len(messages):
        got += [decode(frame) for frame in reader.read()]

    with pytest.raises(EOFError):
        reader.read()
    assert len(got) == len(messages)
    assert got[:-1] == messages[:-1]
    np.testing.assert_array_equal(got[-1], messages[-1])


def test_a_small_message_is_one_chunk() -> None:
    assert len(encode(FrameKind.RUN, ("a:b", (1, 2), {}))) == 1


def test_an_array_is_not_copied_into_its_frame() -> None:
    array = np.ones(1_000_000)

    chunks = encode(FrameKind.RUN, array)

    assert np.shares_memory(np.frombuffer(chunks[-1]), array)


def test_read_only_is_kept_on_the_way() -> None:
    frame = frames_of(encode(FrameKind.RUN, np.ones(10)))[0]

    assert not decode(frame, writable=False).flags.writeable
    assert decode(frame).flags.writeable


def test_arrays_of_the_frame_are_private() -> None:
    reader = Reader(Fragments(joined([*encode(1, np.ones(9)), *encode(1, np.zeros(9))]), iter([])))
    first, second = (decode(frame) for frame in reader.read())

    first[:] = 5

    assert not second.any()


def frames_of(chunks):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(joined(chunks))
        return Reader(theirs).read()


@pytest.mark.parametrize("order", ["C", "F"])
def test_both_memory_orders_travel(order: Any) -> None:
    array = np.asarray(np.arange(12.0).reshape(3, 4), order=order)

    back = decode(frames_of(encode(FrameKind.RUN, array))[0])

    np.testing.assert_array_equal(back, array)
    assert back.flags[f"{order}_CONTIGUOUS"]
