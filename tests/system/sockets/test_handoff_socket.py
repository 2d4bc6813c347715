"""Real sockets through a real pair, in one process."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from hybrid.system.sockets.handoff_socket import (
    ARE_YOU_THERE,
    HandoverPair,
    answer_offer,
    receive_offers,
)


@pytest.fixture
def pair() -> Iterator[HandoverPair]:
    pair = HandoverPair()
    yield pair
    pair.close()


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(the client's end, what was accepted)"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            yield client, accepted


def test_a_connection_arrives_and_our_copy_stays(
    pair: HandoverPair, connection: tuple[socket.socket, socket.socket]
) -> None:
    client, accepted = connection
    assert pair.offer(7, accepted)

    (offer,) = receive_offers(pair.theirs)
    answer_offer(pair.theirs, offer.number, taken=True)

    assert pair.verdicts() == [(7, True)]
    assert offer.sock is not None
    with offer.sock:
        client.sendall(b"hello")
        assert offer.sock.recv(5) == b"hello"
    accepted.sendall(b"still ours")
    assert client.recv(10) == b"still ours"


def test_what_nobody_has_looked_at_can_be_taken_back_once(
    pair: HandoverPair, connection: tuple[socket.socket, socket.socket]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    pair.offer(7, connection[1])

    assert pair.take_back()
    assert not pair.take_back()
    assert receive_offers(pair.theirs) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_was_looked_at_cannot_be_taken_back(
    pair: HandoverPair, connection: tuple[socket.socket, socket.socket]
) -> None:
    pair.offer(7, connection[1])
    (offer,) = receive_offers(pair.theirs)
    assert not pair.take_back()
    assert offer.sock is not None
    offer.sock.close()


def test_a_question_is_an_offer_without_a_connection(pair: HandoverPair) -> None:
    pair.ask()
    (offer,) = receive_offers(pair.theirs)
    assert (offer.number, offer.sock) == (ARE_YOU_THERE, None)


def test_at_the_descriptor_limit_the_offer_comes_without_its_connection(
    pair: HandoverPair, connection: tuple[socket.socket, socket.socket]
) -> None:
    pair.offer(7, connection[1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        (offer,) = receive_offers(pair.theirs)  # MSG_CTRUNC
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (offer.number, offer.sock) == (7, None)
