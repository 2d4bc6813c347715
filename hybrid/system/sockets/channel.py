"""One framing for the links between hybrid's own processes.

A frame is a 4-byte big-endian length and that many bytes, on an AF_UNIX
stream socket; descriptors ride on the frame's first byte (SCM_RIGHTS). The
socket never blocks: what the kernel does not take now waits in an outbox,
whose owner watches for writability while `wants_write` is true. It suits a
selectors loop (the primary) and an asyncio one (a worker) alike.

Rule 1: a frame over the limit is refused at the sender (FrameTooLarge); a
        received length over the limit means the stream is garbage (LinkError).
Rule 2: received descriptors are close-on-exec. A frame has all of its own, or
        none where a process is at its limit: the receiver (MSG_CTRUNC), or the
        sender of a frame that has to wait. So its message arrives in any case, and
        its receiver has to check that the descriptors are there.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid.errors import FrameTooLarge, LinkError

CONTROL_LIMIT = 65 * 1024  # bytes; 64 KiB of an application's message and its envelope
_LENGTH = struct.Struct(">I")
_CHUNK = 64 * 1024  # bytes a single recvmsg takes
_MAX_FDS = 253  # descriptors in one message; the kernel's own bound (SCM_MAX_FD)
_ANCILLARY = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Frame:
    """One received message. The receiver owns `fds` and must close them."""

    payload: bytes
    fds: tuple[int, ...] = ()  # all that it was sent with, or none (rule 2)


class Channel:
    """One end of a link. Not thread-safe: one loop owns it."""

    def __init__(
        self, sock: socket.socket, limit: int = CONTROL_LIMIT, *, takes_fds: bool = True
    ) -> None:
        """Use a connected socket.

        Args:
            sock: AF_UNIX, a stream; it becomes non-blocking.
            limit: bytes of a frame's payload.
            takes_fds: False: the kernel drops every descriptor that is sent here.
        """
        sock.setblocking(False)
        self.sock = sock
        self._limit = limit
        self._takes_fds = takes_fds
        self._inbox = bytearray()
        self._fds: deque[tuple[int, ...]] = deque()  # of each frame that was sent with some
        self._outbox: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self.outbox_bytes = 0  # waiting for the peer to read

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something waits until the socket is writable."""
        return bool(self._outbox)

    def send(self, payload: bytes, fds: Sequence[int] = ()) -> None:
        """Send one frame, now or when the socket is writable again.

        Descriptors are duplicated where the frame has to wait, so the caller may
        close its own at once; if that is not possible it goes without (rule 2).

        Raises:
            FrameTooLarge: over the limit; nothing was sent.
            OSError: the peer is gone (EPIPE, ECONNRESET).
        """
        if len(payload) > self._limit:
            raise FrameTooLarge(len(payload), self._limit)
        if not self._outbox:
            data = _frame(payload, fds)
            sent = self._write(data, fds)
            if sent:
                self._enqueue(data[sent:], ())
                return
        duplicates = _duplicate(fds)
        self._enqueue(_frame(payload, duplicates), duplicates)

    def _enqueue(self, data: memoryview, fds: tuple[int, ...]) -> None:
        if data:
            self._outbox.append((data, fds))
            self.outbox_bytes += len(data)

    def flush(self) -> bool:
        """Write what waits; return whether nothing waits any more."""
        while self._outbox:
            waiting, fds = self._outbox[0]
            sent = self._write(waiting, fds)
            if sent:
                _close(fds)
                fds = ()
            self.outbox_bytes -= sent
            if sent < len(waiting):
                self._outbox[0] = (waiting[sent:], fds)
                return False
            self._outbox.popleft()
        return True

    def _write(self, data: memoryview, fds: Sequence[int]) -> int:
        try:
            return socket.send_fds(self.sock, [data], list(fds)) if fds else self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def receive(self) -> list[Frame]:
        """Return the complete frames that have arrived; an empty list is normal.

        Raises:
            EOFError: the peer is gone and every complete frame was delivered.
            LinkError: the bytes are not frames; the link is useless from here on.
        """
        gone = self._read()
        frames = []
        while len(self._inbox) >= _LENGTH.size:
            (word,) = _LENGTH.unpack_from(self._inbox)
            size, n_fds = word & 0xFFFFFF, word >> 24
            if size > self._limit:
                raise LinkError(f"a frame announces {size} bytes, the limit is {self._limit}")
            end = _LENGTH.size + size
            if len(self._inbox) < end:
                break
            payload = bytes(memoryview(self._inbox)[_LENGTH.size : end])
            del self._inbox[:end]
            frames.append(Frame(payload, self._fds_of_next(n_fds)))
        if gone and not frames:
            raise EOFError("the other end of the link is closed")
        return frames

    def _fds_of_next(self, number: int) -> tuple[int, ...]:
        """Return the descriptors of the next frame, which was sent with `number` of them."""
        if not number or not self._fds:
            return ()
        fds = self._fds.popleft()
        if len(fds) == number:
            return fds
        _close(fds)
        return ()

    def _read(self) -> bool:
        """Take what is there; return whether the peer is gone."""
        while True:
            try:
                data = self._receive_fds() if self._takes_fds else self.sock.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionResetError:
                return True
            if not data:
                return True
            self._inbox += data
            if len(data) < _CHUNK:
                return False

    def _receive_fds(self) -> bytes:
        """Receive bytes, and the descriptors of at most one frame: the kernel stops behind them."""
        data, ancillary, flags, _ = self.sock.recvmsg(_CHUNK, _ANCILLARY, _CLOEXEC)
        received: list[int] = []
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
                received.extend(fds)
        if received or flags & socket.MSG_CTRUNC:
            self._fds.append(tuple(received))
        return data

    def close(self) -> None:
        """Close the socket and every descriptor that was not fetched."""
        for fds in self._fds:
            _close(fds)
        for _, fds in self._outbox:
            _close(fds)
        self._fds.clear()
        self._outbox.clear()
        self.sock.close()


def channel_pair(limit: int = CONTROL_LIMIT) -> tuple[Channel, Channel]:
    """Return two connected ends. Both are close-on-exec and non-blocking.

    The first is the primary's and takes no descriptors: only the primary gives some.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours, limit, takes_fds=False), Channel(theirs, limit)


def _frame(payload: bytes, fds: Sequence[int]) -> memoryview:
    # The receiver needs to know how many descriptors belong to a frame;
    # the length's top byte is free, as limits are far below 2**24.
    return memoryview(_LENGTH.pack(len(fds) << 24 | len(payload)) + payload)


def _duplicate(fds: Sequence[int]) -> tuple[int, ...]:
    """Return duplicates of all descriptors; none where not all are possible."""
    duplicates: list[int] = []
    try:
        for fd in fds:
            duplicates.append(os.dup(fd))  # noqa: PERF401 - closed on failure
    except OSError:
        _close(duplicates)
        return ()
    return tuple(duplicates)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
