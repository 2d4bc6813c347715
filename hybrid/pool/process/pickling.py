"""The frames between a worker and its pool processes; both halves use this module.

    4 bytes   length of what follows, big-endian (the framing of every link)
    1 byte    kind
    4 bytes   number of buffers n
    n × 16    where each buffer lies: offset in the arena, or IN_FRAME; bytes
    …         the message, by pickle protocol 5
    …         the bytes of the IN_FRAME buffers, one after the other

Why not `system.sockets.channel`: its frames are small and copied twice. Here a large
frame is read straight into memory of its own, and array data normally is not in
the frame at all: buffers of LARGE bytes and more lie in the arena.

Only a worker and the pool processes that its own primary forked ever write to
such a socket; that, and nothing weaker, is why unpickling it is sound.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from hybrid.errors import FrameTooLarge
from hybrid.system.memory.arena import LARGE

LIMIT = 2**32 - 1  # bytes of a frame; what the length field can say
IN_FRAME = 2**64 - 1

_HEAD = struct.Struct(">IBI")
_PLACE = struct.Struct(">QQ")
_AFTER_LENGTH = _HEAD.size - 4
_CHUNK = 128 * 1024  # bytes read at once; a frame that fits is decoded in place

Buffer = bytes | bytearray | memoryview
Place = Callable[[memoryview], "int | None"]  # lays a buffer into the arena; None: no room
View = Callable[[int, int], memoryview]  # (offset, bytes) -> that part of the arena


class FrameKind(IntEnum):
    """What a frame says."""

    HELLO = 1  # worker: what to import
    READY = 2  # process: imported; give me jobs
    RUN = 3  # worker: one job, arrays as views
    RUN_WRITABLE = 9  # worker: one job, arrays as private copies
    NOTE = 4  # process: something to know before the answer that follows
    PROGRESS = 5  # process: the running job reports
    RESULT = 6  # process: the job returned
    ERROR = 7  # process: the job raised
    FAILED = 8  # process: this process or this job cannot work, and why


_LAST_KIND = max(FrameKind)


@dataclass(slots=True)
class PickledFrame:
    """A received frame. `body` is valid until the next read of its `Reader`."""

    kind: int
    buffers: int
    body: memoryview


def encode(kind: int, message: Any, place: Place | None = None) -> list[Buffer]:
    """Return `message` as the chunks of one frame; arrays are not copied into them.

    Args:
        kind: what the frame says.
        message: anything that pickles.
        place: lays a LARGE buffer into the arena and returns its offset.

    Raises:
        Exception: whatever pickling `message` raises.
        FrameTooLarge: over 4 GiB outside the arena.
    """
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, 5, buffer_callback=buffers.append)
    if not buffers and len(body) < LARGE:
        return [_HEAD.pack(_AFTER_LENGTH + len(body), kind, 0) + body]
    table, tail, size = [], [], _AFTER_LENGTH + len(body)
    for buffer in buffers:
        raw = buffer.raw()
        offset = place(raw) if place is not None and raw.nbytes >= LARGE else None
        if offset is None:
            tail.append(raw)
            size += raw.nbytes
        table.append(_PLACE.pack(IN_FRAME if offset is None else offset, raw.nbytes))
    size += _PLACE.size * len(table)
    if size > LIMIT:
        raise FrameTooLarge(size, LIMIT)
    return [b"".join((_HEAD.pack(size, kind, len(table)), *table)), body, *tail]


def decode(frame: PickledFrame, view: View | None = None, writable: bool = True) -> Any:
    """Return the message of `frame`.

    Args:
        frame: as read.
        view: finds a buffer in the arena.
        writable: arrays in the message may be written to. Those of the frame
            are private anyway; those of the arena are as `view` gives them.
    """
    if not frame.buffers:
        return pickle.loads(frame.body)  # noqa: S301 - own processes only, see above
    body, table = frame.body, _PLACE.size * frame.buffers
    places = list(_PLACE.iter_unpack(body[:table]))
    at = len(body) - sum(size for offset, size in places if offset == IN_FRAME)
    message, buffers = body[table:at], []
    for offset, size in places:
        if offset != IN_FRAME:
            assert view is not None  # the sender only uses an arena that both map
            buffers.append(view(offset, size))
            continue
        private = memoryview(bytearray(body[at : at + size]))
        buffers.append(private if writable else private.toreadonly())
        at += size
    return pickle.loads(message, buffers=buffers)  # noqa: S301 - own processes only


class Reader:
    """Cuts the stream of a socket, blocking or not, into frames."""

    def __init__(self, sock: socket.socket) -> None:
        self._recv_into = sock.recv_into
        self._small = memoryview(bytearray(_CHUNK))
        self._into = self._small  # _small, or the memory of one frame that is larger
        self._start = 0  # first byte that was not delivered
        self._end = 0  # first byte that has not arrived

    def read(self) -> Sequence[PickledFrame]:
        """Receive once and return the frames that are complete now.

        Raises:
            EOFError: the other end is closed.
            BlockingIOError: nothing to read (non-blocking sockets).
            OSError: the other end is gone (ECONNRESET), or writes no frames.
        """
        if self._start == self._end and self._into is self._small:
            self._start = self._end = 0
        elif self._start:
            self._make_room(self._end - self._start)
        received = self._recv_into(self._into[self._end :])
        if not received:
            raise EOFError("the other end of the link is closed")
        self._end += received
        return self._cut()

    def _cut(self) -> list[PickledFrame]:
        frames = []
        while self._end - self._start >= _HEAD.size:
            size, kind, buffers = _HEAD.unpack_from(self._into, self._start)
            if not 0 < kind <= _LAST_KIND:
                raise ConnectionError("what arrives on the link is not a frame")
            end = self._start + 4 + size
            if end > self._end:
                if 4 + size > len(self._into):
                    self._make_room(4 + size)
                break
            frames.append(PickledFrame(kind, buffers, self._into[self._start + _HEAD.size : end]))
            self._start = end
        return frames

    def _make_room(self, size: int) -> None:
        """Move what was not delivered to the front of memory for `size` bytes.

        A frame that does not fit the small buffer gets memory of its exact size, so it is
        received without being moved again. Once it is delivered the small buffer serves
        again; without that, one large result would keep its memory for as long as the link
        lives. What is moved within the small buffer is copied out of it first.
        """
        rest = bytes(self._into[self._start : self._end]) if size <= _CHUNK else None
        if rest is None:
            into = memoryview(bytearray(size))
            into[: self._end - self._start] = self._into[self._start : self._end]
            self._into = into
        else:
            self._into = self._small
            self._small[: len(rest)] = rest
        self._end -= self._start
        self._start = 0
