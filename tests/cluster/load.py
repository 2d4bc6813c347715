"""Clients that never stop asking, and an honest account of what became of each request.

A request is *lost* when no complete, valid answer comes on a fresh connection,
or on a reused one after its first byte. A reused connection that is closed
before the first byte of the answer is HTTP's normal race (RFC 9112, 9.3.1):
the request is repeated once on a fresh one and counted as *retried*.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from dataclasses import dataclass, field

import h11


@dataclass(frozen=True)
class Kind:
    """One way of asking."""

    path: str
    body: bytes = b""  # POST when there is one
    keep_alive: bool = False
    think: float = 0.0  # s at most between two requests of a connection, at random


@dataclass(frozen=True)
class Loss:
    """A request without a complete, valid answer."""

    at: float  # monotonic s
    port: int  # of the client's end; 0: there was no connection
    what: str


@dataclass
class Account:
    """What became of the requests."""

    answered: int = 0
    retried: int = 0
    lost: list[Loss] = field(default_factory=list)


class ClosedEarly(OSError):
    """The connection ended before the first byte of an answer."""


class Load:
    """One thread per kind."""

    def __init__(self, port: int, kinds: list[Kind], timeout: float = 30.0) -> None:
        self.account = Account()
        self._address, self._timeout = ("127.0.0.1", port), timeout
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(kind, n), daemon=True)
            for n, kind in enumerate(kinds)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Account:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        return self.account

    def _run(self, kind: Kind, seed: int) -> None:
        dice = random.Random(seed)
        sock: socket.socket | None = None
        while not self._over.wait(dice.uniform(0, kind.think)):
            sock = self._ask(kind, sock)
        if sock is not None:
            sock.close()

    def _ask(self, kind: Kind, sock: socket.socket | None) -> socket.socket | None:
        """Ask once; return the connection when it can be used again."""
        port = 0
        try:
            if sock is not None:
                port = sock.getsockname()[1]
                try:
                    return self._exchange(kind, sock)
                except ClosedEarly:
                    with self._lock:
                        self.account.retried += 1
            port = 0
            sock = socket.create_connection(self._address, self._timeout)
            port = sock.getsockname()[1]
            return self._exchange(kind, sock)
        except (OSError, h11.RemoteProtocolError) as ex:
            with self._lock:
                self.account.lost.append(Loss(time.monotonic(), port, f"{kind.path}: {ex!r}"))
            return None

    def _exchange(self, kind: Kind, sock: socket.socket) -> socket.socket | None:
        client = h11.Connection(h11.CLIENT)
        headers = [("Host", "soak"), ("Content-Length", str(len(kind.body)))]
        if not kind.keep_alive:
            headers.append(("Connection", "close"))
        method = "POST" if kind.body else "GET"
        request = client.send(h11.Request(method=method, target=kind.path, headers=headers))
        assert request is not None
        body = client.send(h11.Data(kind.body)) or b""
        client.send(h11.EndOfMessage())
        try:
            status, size = self._answer(client, sock, request + body)
        except BaseException:
            sock.close()
            raise
        if status != 200 or (kind.body and size != len(kind.body)):
            sock.close()
            raise OSError(f"status {status}, {size} bytes")
        with self._lock:
            self.account.answered += 1
        if client.our_state is client.their_state is h11.DONE:
            return sock
        sock.close()
        return None

    def _answer(self, client: h11.Connection, sock: socket.socket, data: bytes) -> tuple[int, int]:
        status = size = received = 0
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as ex:
            raise ClosedEarly(str(ex)) from ex
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                try:
                    chunk = sock.recv(65536)
                except ConnectionResetError as ex:
                    raise (OSError if received else ClosedEarly)(str(ex)) from ex
                if not chunk and not received:
                    raise ClosedEarly("EOF")
                received += len(chunk)
                client.receive_data(chunk)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, size
