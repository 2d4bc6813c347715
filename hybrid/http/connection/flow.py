"""The transport's half of a connection: writing, and backpressure both ways.

A client that reads slowly makes the application wait (`wait_writable`); an
application that reads slowly makes the client wait (`pause_reading` leaves its
bytes in the kernel). So the memory that one connection can fill is bounded.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from hybrid.http.shared import Shared

# Before 3.12.9 and 3.13.2 asyncio's `writelines` never pauses the protocol (CVE-2024-12254): the
# answer to a client that does not read would pile up here. uvloop's does; a copy costs it little.
_PAUSES_AFTER_WRITELINES = not (
    (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2)
)


class Flow(asyncio.Protocol):
    """The part of a connection that knows its transport and its deadline, but not HTTP."""

    __slots__ = (
        "_is_reading",
        "_writable",
        "deadline",
        "half_closed",
        "held",
        "is_write_paused",
        "shared",
        "transport",
        "unsent",
    )

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.transport: Any = None
        self.deadline = 0.0  # monotonic; see `Connection.act_on_deadline`
        self.half_closed = False  # the client sends no more
        self.held = b""  # a complete answer that waits for the end of the loop's turn
        self.is_write_paused = False
        self.unsent = 0  # bytes in the write buffer when that was last measured
        self._is_reading = True
        self._writable: asyncio.Future[None] | None = None

    # -- writing ---------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data`; what the socket does not take is buffered."""
        if self.held:
            self.release()
        self.transport.write(data)

    def write_all(self, pieces: tuple[bytes, ...]) -> None:
        """Send pieces, without joining them where asyncio can do that safely."""
        if self.held:
            self.release()
        if len(pieces) == 1:
            self.transport.write(pieces[0])
        elif pieces and _PAUSES_AFTER_WRITELINES:
            self.transport.writelines(pieces)
        elif pieces:
            self.transport.write(b"".join(pieces))

    def release(self) -> None:
        """Send the held answer; called before any other write and before the end."""
        data, self.held = self.held, b""
        if data and not self.transport.is_closing():  # where asyncio ignores it, uvloop raises
            self.transport.write(data)

    def pause_writing(self) -> None:
        """Make writers wait: the client reads slower than the application writes."""
        self.is_write_paused = True
        self.unsent = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Let writers go on: the client has caught up, or has left."""
        self.is_write_paused = False
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def wait_writable(self) -> None:
        """Return when the client has read enough, or has left."""
        while self.is_write_paused:
            if self._writable is None:
                self._writable = self.shared.loop.create_future()
            await asyncio.shield(self._writable)

    # -- reading ---------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Leave what the client sends in the kernel, so that the client has to wait."""
        if self._is_reading and self._can_read():
            self._is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again what the client sends."""
        if not self._is_reading and self._can_read():
            self._is_reading = True
            self.transport.resume_reading()

    def _can_read(self) -> bool:
        return not (self.half_closed or self.transport.is_closing())

    # -- time and the end ------------------------------------------------------------

    def set_deadline(self, seconds: float) -> None:
        """Have `act_on_deadline` called after `seconds`, unless the deadline is moved before."""
        self.deadline = self.shared.watch.now + seconds

    def close(self) -> None:
        """Close when everything is written."""
        self.release()
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection: the client sees that its answer is incomplete."""
        self.release()
        self.transport.abort()
