"""What an idle keep-alive connection costs the worker in memory."""

from __future__ import annotations

import socket
import time

from benchmarks.http import load
from benchmarks.http.servers import Peer, start

_REQUEST = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


def bytes_per_idle_connection(peer: Peer, count: int = 1000) -> float:
    """Return the growth of the server's memory (PSS of all its processes), per connection.

    `count` connections make one request each and stay. Before that only a few
    came and went: memory that many had left behind would be used again unseen.
    """
    port = load.free_port()
    server = start(peer, port, cpu=0)
    try:
        load.wait_until_it_answers(port)
        for sock in _used(port, 20):
            sock.close()
        time.sleep(0.5)  # until the server has noticed
        before = load.memory_kb(server.pid)
        socks = _used(port, count)
        time.sleep(0.5)
        grown = load.memory_kb(server.pid) - before
        for sock in socks:
            sock.close()
        return grown * 1024 / count
    finally:
        load.stop(server)


def _used(port: int, count: int) -> list[socket.socket]:
    socks = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        sock.sendall(_REQUEST)
        sock.recv(65536)
        socks.append(sock)
    return socks
