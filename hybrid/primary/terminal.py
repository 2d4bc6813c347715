"""Telling "reload" from "the terminal was closed": both are SIGHUP."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terminal:
    """Whether the process had a controlling terminal when it started."""

    had_one: bool

    @classmethod
    def at_start(cls) -> Terminal:
        """Look now."""
        return cls(_reachable())

    def is_gone(self) -> bool:
        """Return whether the terminal of the start is there no more.

        Without one at the start (systemd, a container, nohup) SIGHUP can only
        have been sent on purpose.
        """
        return self.had_one and not _reachable()


def _reachable() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
