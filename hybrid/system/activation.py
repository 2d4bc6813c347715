"""Listening sockets that systemd opened for us (sd_listen_fds(3))."""

from __future__ import annotations

import os
from collections.abc import Mapping

_FIRST = 3  # SD_LISTEN_FDS_START


def passed_sockets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the addresses ``fd://3`` … of the sockets passed to this very process.

    Empty without ``LISTEN_FDS``, or when ``LISTEN_PID`` names another process:
    the variables are inherited by whoever we are started by.
    """
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if not count.isdecimal() or pid != str(os.getpid()):
        return ()
    return tuple(f"fd://{_FIRST + i}" for i in range(int(count)))
