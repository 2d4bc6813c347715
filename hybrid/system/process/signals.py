"""Signals as data for a selectors loop. Runs in the primary.

A Python handler could run between any two bytecodes of the loop and see half
a change. So the handlers do nothing at all; the interpreter's C handler writes
each signal's number to a socket (``signal.set_wakeup_fd``), the loop reads the
numbers when it is ready for them. This is D. J. Bernstein's self-pipe trick
(https://cr.yp.to/docs/selfpipe.html), provided by the interpreter.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self


class SignalQueue:
    """Collects signals between ``__enter__`` and ``__exit__``; main thread only."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1
        self.reader, self.writer = socket.socketpair()
        for end in (self.reader, self.writer):
            end.setblocking(False)

    def __enter__(self) -> Self:
        self._wakeup_before = signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
        for number in self._numbers:
            self._before[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self.reader.close()
        self.writer.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when a signal has come."""
        return self.reader.fileno()

    def take(self) -> list[signal.Signals]:
        """Return the signals that came since the last call, oldest first."""
        try:
            numbers = self.reader.recv(4096)
        except BlockingIOError:
            return []
        return [signal.Signals(n) for n in numbers if n in signal.valid_signals()]


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Exist, so that the signal is delivered instead of ending the process."""
