"""Passing an accepted connection from the primary to a worker.

A pair of AF_UNIX datagram sockets per worker. One datagram is one connection:
its number, and the descriptor (SCM_RIGHTS). The answer is the number and a
verdict. Number 0 without a descriptor only asks whether the worker is there.

Why no stream with the framing of `channel.py`: a datagram is taken whole or
not at all, by exactly one reader. The primary keeps both ends, so it can read
a connection *back* that a blocked worker has left lying; whether the worker or
the primary got it is decided by the kernel, and never both.

The price: the primary sees no EOF here. A worker's death is what waitpid says.
"""

from __future__ import annotations

import array
import socket
import struct
from dataclasses import dataclass

_NUMBER = struct.Struct(">I")
_VERDICT = struct.Struct(">I?")
_ANCILLARY = socket.CMSG_SPACE(array.array("i").itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
ARE_YOU_THERE = 0  # the number that stands for no connection


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker finds: a connection, or none because it had no room for the descriptor."""

    number: int
    sock: socket.socket | None


class HandoverPair:
    """The primary's half; it holds both ends."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is a verdict."""
        return self.ours.fileno()

    def offer(self, number: int, sock: socket.socket) -> bool:
        """Pass a connection on; the caller keeps its copy. False: not possible now."""
        try:
            socket.send_fds(self.ours, [_NUMBER.pack(number)], [sock.fileno()])
        except OSError:  # no buffer space (ENOBUFS), too many in flight (ETOOMANYREFS)
            return False
        return True

    def ask(self) -> None:
        """Leave a question that the worker answers when it looks again."""
        self.ours.send(_NUMBER.pack(ARE_YOU_THERE))

    def take_back(self) -> bool:
        """Read the connection back; False: the worker was quicker."""
        offers = receive_offers(self.theirs)
        for offer in offers:
            if offer.sock is not None:
                offer.sock.close()
        return bool(offers)

    def verdicts(self) -> list[tuple[int, bool]]:
        """Return (number, taken) of every answer that has come."""
        found = []
        while True:
            try:
                found.append(_VERDICT.unpack(self.ours.recv(_VERDICT.size)))
            except (BlockingIOError, InterruptedError):
                return found

    def close(self) -> None:
        """Give both ends back; what was offered and not taken stays with the caller."""
        self.ours.close()
        self.theirs.close()


def receive_offers(theirs: socket.socket) -> list[Offer]:
    """Return what has been offered on the worker's end."""
    offers: list[Offer] = []
    while True:
        try:
            data, ancillary, _, _ = theirs.recvmsg(_NUMBER.size, _ANCILLARY, _CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return offers
        (number,) = _NUMBER.unpack(data)
        fds = array.array("i")
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
        # No descriptor is MSG_CTRUNC: this process is at its limit, the primary has a copy.
        offers.append(Offer(number, socket.socket(fileno=fds[0]) if fds else None))


def answer_offer(theirs: socket.socket, number: int, taken: bool) -> None:
    """Tell the primary; before the first read, or it would offer a used connection."""
    theirs.send(_VERDICT.pack(number, taken))
