from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hybrid.errors import FrameTooLarge, LinkError
from hybrid.system.sockets.channel import CONTROL_LIMIT, Channel, channel_pair


@pytest.fixture
def pair() -> Iterator[Any]:
    ends = [Channel(sock) for sock in socket.socketpair()]
    yield ends
    for end in ends:
        end.close()


def test_frames_arrive_whole_and_in_order(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    for payload in (b"a", b"", b"c" * 1000):
        ours.send(payload)
    assert [frame.payload for frame in theirs.receive()] == [b"a", b"", b"c" * 1000]


def test_a_reader_that_sleeps_blocks_nobody_and_loses_nothing(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    sent = [bytes([i % 256]) * 60_000 for i in range(50)]
    for payload in sent:
        ours.send(payload)
    assert ours.wants_write

    got = []
    while len(got) < len(sent):
        ours.flush()
        got += [frame.payload for frame in theirs.receive()]

    assert got == sent
    assert ours.outbox_bytes == 0


def test_descriptors_arrive_with_their_frame_even_when_it_had_to_wait(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    for _ in range(20):
        ours.send(b"x" * 60_000)
    reader, writer = os.pipe()
    ours.send(b"here", (reader,))
    os.close(reader)

    frames = []
    while not frames or frames[-1].payload != b"here":
        ours.flush()
        frames += theirs.receive()

    os.write(writer, b"through")
    (received,) = frames[-1].fds
    assert os.read(received, 10) == b"through"
    assert not os.get_inheritable(received)
    os.close(received)
    os.close(writer)


def test_a_frame_over_the_limit_is_refused_at_the_sender(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    with pytest.raises(FrameTooLarge, match=str(CONTROL_LIMIT + 1)):
        ours.send(b"x" * (CONTROL_LIMIT + 1))
    assert theirs.receive() == []


def test_a_length_over_the_limit_is_no_frame() -> None:
    raw, end = socket.socketpair()
    channel = Channel(end)
    raw.sendall(b"\x00\xff\xff\xff")
    with pytest.raises(LinkError, match="announces"):
        channel.receive()
    raw.close()
    channel.close()


def test_the_last_frames_of_a_peer_that_is_gone_are_delivered_before_eof(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    ours.send(b"last words")
    ours.sock.close()
    assert [frame.payload for frame in theirs.receive()] == [b"last words"]
    with pytest.raises(EOFError):
        theirs.receive()


@contextmanager
def free_descriptors(number: int) -> Iterator[None]:
    """Let this process open so many descriptors, and no more."""
    taken = [os.dup(1) for _ in range(number + 1)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("free", [0, 1])
def test_a_frame_for_whose_descriptors_there_is_no_room_arrives_without_any(
    pair: tuple[Channel, Channel], free: int
) -> None:
    ours, theirs = pair
    before = open_descriptors()
    ours.send(b"one", (1, 1))
    ours.send(b"two")
    with free_descriptors(free):
        frames = theirs.receive()
    ours.send(b"three", (1,))
    while len(frames) < 3:
        frames += theirs.receive()

    assert [frame.payload for frame in frames] == [b"one", b"two", b"three"]
    assert [len(frame.fds) for frame in frames] == [0, 0, 1]
    os.close(frames[2].fds[0])
    assert open_descriptors() == before


def test_a_frame_that_has_to_wait_goes_without_descriptors_where_none_is_free(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    before = open_descriptors()
    while not ours.wants_write:
        ours.send(b"x" * 60_000)
    with free_descriptors(1):
        ours.send(b"poor", (1, 1))
    ours.send(b"rich", (1, 1))

    frames = []
    while not frames or frames[-1].payload != b"rich":
        ours.flush()
        frames += theirs.receive()

    assert (frames[-2].payload, frames[-2].fds) == (b"poor", ())
    assert len(frames[-1].fds) == 2
    for fd in frames[-1].fds:
        os.close(fd)
    assert open_descriptors() == before


def test_the_primary_takes_no_descriptors_from_anybody() -> None:
    primary, worker = channel_pair()
    before = open_descriptors()
    worker.send(b"gift", (1, 1))
    assert [(frame.payload, frame.fds) for frame in primary.receive()] == [(b"gift", ())]
    assert open_descriptors() == before
    primary.close()
    worker.close()


def test_both_ends_may_flood_each_other_with_descriptors(pair: tuple[Channel, Channel]) -> None:
    reader, writer = os.pipe()
    for _ in range(100):
        for end in pair:
            end.send(b"x" * 60_000, (reader,))

    got = [0, 0]
    while got != [100, 100]:
        for number, end in enumerate(pair):
            end.flush()
            for frame in end.receive():
                (fd,) = frame.fds
                assert os.path.sameopenfile(fd, reader)
                os.close(fd)
                got[number] += 1

    assert [end.outbox_bytes for end in pair] == [0, 0]
    os.close(reader)
    os.close(writer)
