"""One connection of the load generator."""

from __future__ import annotations

import socket

NONE = -1  # no request on this connection


class Connection:
    """One keep-alive connection, with at most one request on it."""

    __slots__ = ("buffer", "connected", "fd", "needed", "outgoing", "request", "sock", "used")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.request = NONE
        self.buffer = b""
        self.needed = 0
        self.outgoing: memoryview | None = None
        self.connected = False
        self.used = 0  # requests answered on it


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the family and the first address of a name; looked up once per run."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return found[0], (str(found[4][0]), int(found[4][1]))
