from __future__ import annotations

import os
import socket

import pytest

from hybrid.errors import FrameTooLarge, LinkError
from hybrid.system.channel import CONTROL_LIMIT, Channel, channel_pair


@pytest.fixture
def pair():  # type: ignore[no-untyped-def]
    ends = channel_pair()
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
