"""The load generator's loop: sockets, a schedule, and nothing else.

Runs in the generator process (`python -m hybrid.bench.load.load_process`), one thread.

    schedule --due--> idle connection? --send--> in flight --answer--> row done
                      none: open one            |
                      at the limit: line  <-----+ the freed connection takes the next

Rule 1: a request is due at its intended time whatever the server does; waiting
        for a connection is part of its latency.
Rule 2: `epoll` rounds waits up to a millisecond, so waiting is done by `select`
        on the epoll descriptor itself, which is readable when anything is.
Rule 3: a reused connection that ends before the first byte of the answer is
        retried once on a fresh one (the server may close an idle connection at
        any time); every other loss is a failure.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from hybrid.bench.load.records import LoadOutcome, Records
from hybrid.bench.load.wire import ReceivedAnswer, parse

if TYPE_CHECKING:
    from hybrid.bench.load.plan import LoadPlan


# -- One connection of the load generator ----------------------------------------

NONE = -1  # no request on this connection


class LoadConnection:
    """One keep-alive connection, with at most one request on it."""

    __slots__ = (
        "buffer",
        "connected",
        "fd",
        "is_blocked",
        "needed",
        "outgoing",
        "request",
        "sock",
        "used",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.request = NONE
        self.buffer = b""
        self.needed = 0
        self.outgoing: memoryview | None = None
        self.connected = False
        self.is_blocked = False  # writability is watched, for the rest of `outgoing`
        self.used = 0  # requests answered on it


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the family and the first address of a name; looked up once per run."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return found[0], (str(found[4][0]), int(found[4][1]))


RECEIVE = 1 << 18  # bytes per recv


class Engine:
    """Sends every row of `records` and fills it in."""

    def __init__(self, plan: LoadPlan, requests: list[bytes], records: Records) -> None:
        self.plan, self.requests, self.records = plan, requests, records
        self.count = len(records)
        self._family, self._address = resolve(plan.host, plan.port)
        self._epoll = select.epoll()
        self._by_fd: dict[int, LoadConnection] = {}
        self._idle: deque[LoadConnection] = deque()
        self._line: deque[int] = deque()  # due requests that found no connection
        self._deadlines: deque[tuple[float, LoadConnection, int]] = deque()
        self._next = 0  # the next row that is not yet due or taken
        self._left = self.count
        self._open_loop = plan.concurrency == 0
        self._limit = plan.max_connections if self._open_loop else plan.concurrency
        self._columns: dict[str, Any] = {name: records.view(name) for name in records.columns}
        self._start = 0.0
        self.stopping = False  # set by `stop`

    def run(self) -> tuple[float, float]:
        """Offer the whole schedule; returns (start, seconds until the last answer)."""
        try:
            for _ in range(min(self.plan.connections, self._limit)):
                self._open(NONE)
            self._await_connections()
            self._start = time.monotonic()
            self._loop()
            return self._start, time.monotonic() - self._start
        finally:
            for connection in list(self._by_fd.values()):
                self._close(connection)
            self._epoll.close()

    def stop(self) -> None:
        """End the run after this turn of the loop; a signal handler may call it."""
        self.stopping = True

    # -- the loop -----------------------------------------------------------

    def _loop(self) -> None:
        last_due = self.plan.duration
        give_up = last_due + self.plan.timeout
        while self._left:
            now = self._now()
            if self.stopping or now > give_up or (not self._open_loop and now > last_due):
                break
            self._fail_overdue(now)
            if self._open_loop:
                self._send_due(now)
            else:
                self._send_closed()
            self._wait(self._until_next(give_up))

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _send_due(self, now: float) -> None:
        intended = self._columns["intended"]
        while self._next < self.count and intended[self._next] <= now:
            self._dispatch(self._next)
            self._next += 1
            now = self._now()

    def _send_closed(self) -> None:
        while self._next < self.count and (self._idle or len(self._by_fd) < self._limit):
            self._dispatch(self._next)
            self._next += 1

    def _dispatch(self, row: int) -> None:
        if self._idle:
            self._send(self._idle.popleft(), row)
        elif len(self._by_fd) < self._limit:
            self._columns["held"][row] = 1
            self._open(row)
        else:
            self._columns["held"][row] = 1
            self._line.append(row)

    def _until_next(self, give_up: float) -> float:
        due = give_up
        if self._open_loop and self._next < self.count:
            due = self._columns["intended"][self._next]
        elif not self._open_loop:
            due = self.plan.duration
        if self._deadlines:
            due = min(due, self._deadlines[0][0])
        return due - self._now()

    def _wait(self, seconds: float) -> None:
        if seconds > 0.0:
            select.select([self._epoll.fileno()], [], [], seconds)
        for fd, events in self._epoll.poll(0):
            connection = self._by_fd.get(fd)
            if connection is not None:
                self._ready(connection, events)

    def _await_connections(self) -> None:
        """Wait until the first connections are established, or one second."""
        end = time.monotonic() + 1.0
        while time.monotonic() < end and any(not c.connected for c in self._by_fd.values()):
            self._wait(0.01)

    def _fail_overdue(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, connection, row = self._deadlines.popleft()
            if connection.request == row:
                self._fail(connection, LoadOutcome.TIMEOUT)

    # -- connections --------------------------------------------------------

    def _open(self, row: int) -> None:
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = LoadConnection(sock)
        connection.request = row
        self._by_fd[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        if row != NONE:
            self._deadlines.append((self._now() + self.plan.timeout, connection, row))
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self._fail(connection, LoadOutcome.REFUSED)

    def _close(self, connection: LoadConnection) -> None:
        if self._by_fd.pop(connection.fd, None) is None:
            return
        self._epoll.unregister(connection.fd)
        connection.sock.close()

    def _ready(self, connection: LoadConnection, events: int) -> None:
        if not connection.connected:
            self._connected(connection)
        elif events & select.EPOLLOUT:
            self._flush(connection)
        elif connection.request == NONE:  # idle, and readable: the peer has closed it
            self._idle.remove(connection)
            self._close(connection)
        else:
            self._receive(connection)

    def _connected(self, connection: LoadConnection) -> None:
        if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail(connection, LoadOutcome.REFUSED)
            return
        connection.connected = True
        self._epoll.modify(connection.fd, select.EPOLLIN)
        if connection.request != NONE:
            self._send(connection, connection.request)
        else:
            self._take_next(connection)

    def _take_next(self, connection: LoadConnection) -> None:
        if self._line:
            self._send(connection, self._line.popleft())
        else:
            self._idle.append(connection)

    # -- one request --------------------------------------------------------

    def _send(self, connection: LoadConnection, row: int) -> None:
        connection.request, connection.buffer, connection.needed = row, b"", 0
        now = self._now()
        self._columns["sent"][row] = now
        self._columns["attempts"][row] += 1
        if not self._open_loop:
            self._columns["intended"][row] = now
        self._deadlines.append((now + self.plan.timeout, connection, row))
        connection.outgoing = memoryview(self.requests[self._columns["stream"][row]])
        self._flush(connection)

    def _flush(self, connection: LoadConnection) -> None:
        """Send what is left of the request, now or when the socket is writable.

        Nearly every request fits the socket's buffer at once, and for those the
        descriptor is not registered anew: an epoll_ctl per request would cost more than
        the send. Once a request did not fit, writability is watched; it must be unwatched
        after the last byte, or epoll would report it without end and the generator spin.
        """
        assert connection.outgoing is not None
        try:
            sent = connection.sock.send(connection.outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(connection)
            return
        if sent < len(connection.outgoing):
            connection.outgoing = connection.outgoing[sent:]
            self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)
            connection.is_blocked = True
        else:
            connection.outgoing = None
            if connection.is_blocked:
                self._epoll.modify(connection.fd, select.EPOLLIN)
                connection.is_blocked = False

    def _receive(self, connection: LoadConnection) -> None:
        try:
            data = connection.sock.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self._lost(connection)
            return
        if connection.buffer:
            data, eof = connection.buffer + data, not data
        else:
            eof = not data
        if eof and not data:
            self._lost(connection)
            return
        if len(data) < connection.needed and not eof:
            connection.buffer = data
            return
        self._read(connection, data, eof=eof)

    def _read(self, connection: LoadConnection, data: bytes, *, eof: bool) -> None:
        try:
            found = parse(data, eof=eof)
        except ValueError:
            self._fail(connection, LoadOutcome.BAD)
            return
        if isinstance(found, ReceivedAnswer):
            self._finish(connection, found)
        elif eof:
            self._fail(connection, LoadOutcome.RESET)
        else:
            connection.buffer, connection.needed = data, found.needed

    def _finish(self, connection: LoadConnection, answer: ReceivedAnswer) -> None:
        row, columns = connection.request, self._columns
        columns["done"][row] = self._now()
        columns["status"][row] = answer.status
        columns["outcome"][row] = LoadOutcome.OK if answer.status < 400 else LoadOutcome.STATUS
        columns["worker"][row] = answer.worker
        columns["size"][row] = answer.size
        if answer.run:
            columns["queue"][row], columns["run"][row] = answer.queue, answer.run
        self._left -= 1
        connection.request = NONE
        connection.used += 1
        if answer.closing or connection.used == self.plan.reconnect_every:
            self._close(connection)
            self._open_for_line()
        else:
            self._take_next(connection)

    def _lost(self, connection: LoadConnection) -> None:
        row = connection.request
        retry = connection.used > 0 and not connection.buffer and row != NONE
        if retry and self._columns["attempts"][row] == 1:
            self._close(connection)
            self._open(row)
        else:
            self._fail(connection, LoadOutcome.RESET)

    def _fail(self, connection: LoadConnection, outcome: LoadOutcome) -> None:
        if connection.request != NONE:
            self._columns["outcome"][connection.request] = outcome
            self._left -= 1
            connection.request = NONE
        self._close(connection)
        self._open_for_line()

    def _open_for_line(self) -> None:
        if self._line and len(self._by_fd) < self._limit:
            self._open(self._line.popleft())
