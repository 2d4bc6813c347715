"""Distinguishing "reload" from "the terminal was closed": SIGHUP means either.

When a terminal is closed, the kernel sends SIGHUP to the leader of its session only. A shell
passes it on to its jobs; ``make``, ``xterm -e`` and ``ssh -t host make serve`` do not, and the
server would go on unseen. So the primary also checks for its terminal, once a second.
"""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass

_EVERY = 1.0  # s between two checks; one costs some 5 µs
_UNKNOWN = -1


@dataclass(slots=True)
class Terminal:
    """The controlling terminal of the start, and whether we are in its foreground."""

    had_one: bool
    _is_ours: bool = False  # at the last check our group was in its foreground
    _next_check: float = 0.0  # monotonic seconds

    @classmethod
    def at_start(cls) -> Terminal:
        """Return the terminal of now, before signal handlers are installed.

        nohup(1) starts a program with SIGHUP ignored: it must go on without a terminal.
        """
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        return cls(_foreground() is not None and not is_nohup)

    def is_gone(self) -> bool:
        """Return, once, that the terminal of the start no longer exists: SIGHUP means that.

        Without one at the start (systemd, a container, nohup) SIGHUP can only
        have been sent on purpose, and means "reload".
        """
        gone = self.had_one and _foreground() is None
        if gone:
            self.had_one = False
        return gone

    def next_check(self) -> float | None:
        """Return when `was_closed` is to be called again; None: never."""
        return self._next_check if self.had_one else None

    def was_closed(self, now: float) -> bool:
        """Return True once: the terminal was closed while this program was in its foreground.

        A program in the background (a shell's ``&``, disowned) outlives its terminal.
        """
        if not self.had_one or now < self._next_check:
            return False
        self._next_check = now + _EVERY
        group = _foreground()
        if group is None:
            self.had_one = False
            return self._is_ours
        if group != _UNKNOWN:
            self._is_ours = group == os.getpgrp()
        return False


def _foreground() -> int | None:
    """Return the process group in the foreground of our terminal; None: we have no terminal."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError as ex:
        has_none = ex.errno in (errno.ENXIO, errno.EIO, errno.ENOENT)
        return None if has_none else _UNKNOWN  # such as: no descriptor is free
    try:
        return os.tcgetpgrp(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
