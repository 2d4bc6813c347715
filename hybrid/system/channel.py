"""One framing for the links between hybrid's own processes.

A frame is a 4-byte big-endian length and that many bytes, on an AF_UNIX
stream socket; descriptors ride on the frame's first byte (SCM_RIGHTS). The
socket never blocks: what the kernel does not take now waits in an outbox,
whose owner watches for writability while `wants_write` is true. It suits a
selectors loop (the primary) and an asyncio one (a worker) alike.

Rule 1: a frame over the limit is refused at the sender (FrameTooLarge); a
        received length over the limit means the stream is garbage (LinkError).
Rule 2: received descriptors are close-on-exec; when the kernel had no room for
        one (MSG_CTRUNC) the link says so (DescriptorsLost), never guesses.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid.errors import DescriptorsLost, FrameTooLarge, LinkError

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
    fds: tuple[int, ...] = ()


class Channel:
    """One end of a link. Not thread-safe: one loop owns it."""

    def __init__(self, sock: socket.socket, limit: int = CONTROL_LIMIT) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._limit = limit
        self._inbox = bytearray()
        self._fds: deque[int] = deque()
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

        Descriptors are duplicated first where the frame has to wait, so the
        caller may close its own at once.

        Raises:
            FrameTooLarge: over the limit; nothing was sent.
            OSError: the peer is gone (EPIPE, ECONNRESET).
        """
        if len(payload) > self._limit:
            raise FrameTooLarge(len(payload), self._limit)
        # The receiver needs to know how many descriptors belong to a frame;
        # the length's top byte is free, as limits are far below 2**24.
        head = _LENGTH.pack(len(fds) << 24 | len(payload))
        waiting = memoryview(head + payload)
        queued = tuple(os.dup(fd) for fd in fds) if self._outbox else tuple(fds)
        if not self._outbox:
            sent = self._write(waiting, queued)
            if sent == len(waiting):
                return
            queued = () if sent else tuple(os.dup(fd) for fd in fds)
            waiting = waiting[sent:]
        self._outbox.append((waiting, queued))
        self.outbox_bytes += len(waiting)

    def flush(self) -> bool:
        """Write what waits; return whether nothing waits any more."""
        while self._outbox:
            waiting, fds = self._outbox[0]
            sent = self._write(waiting, fds)
            if sent:
                for fd in fds:
                    os.close(fd)
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
            DescriptorsLost: a descriptor was dropped by the kernel.
            LinkError: the bytes are no frames; the link is useless from here.
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
            if n_fds > len(self._fds):
                raise DescriptorsLost(f"{n_fds} descriptors expected, {len(self._fds)} came")
            payload = bytes(memoryview(self._inbox)[_LENGTH.size : end])
            del self._inbox[:end]
            frames.append(Frame(payload, tuple(self._fds.popleft() for _ in range(n_fds))))
        if gone and not frames:
            raise EOFError("the other end of the link is closed")
        return frames

    def _read(self) -> bool:
        """Take what is there; return whether the peer is gone."""
        while True:
            try:
                data, ancillary, flags, _ = self.sock.recvmsg(_CHUNK, _ANCILLARY, _CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionResetError:
                return True
            for level, kind, raw in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds = array.array("i")
                    fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
                    self._fds.extend(fds)
            if flags & socket.MSG_CTRUNC:
                raise DescriptorsLost("the kernel dropped a descriptor: raise `ulimit -n`")
            if not data:
                return True
            self._inbox += data
            if len(data) < _CHUNK:
                return False

    def close(self) -> None:
        """Close the socket and every descriptor nobody has fetched."""
        for fd in self._fds:
            os.close(fd)
        for _, fds in self._outbox:
            for fd in fds:
                os.close(fd)
        self._fds.clear()
        self._outbox.clear()
        self.sock.close()


def channel_pair(limit: int = CONTROL_LIMIT) -> tuple[Channel, Channel]:
    """Return two connected ends. Both are close-on-exec and non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours, limit), Channel(theirs, limit)
