"""The standard streams, for a process that was started without some of them.

A shell's ``<&-``, some cron daemons and some supervisors start a program with
descriptor 0, 1 or 2 closed. The next thing that is opened gets that number: a
listening socket would be taken for standard input, and a traceback be written
to a client.
"""

from __future__ import annotations

import contextlib
import os
import sys

STANDARD = {0: "stdin", 1: "stdout", 2: "stderr"}  # names in `sys`, by descriptor


def open_standard_streams() -> None:
    """Open /dev/null on each of the descriptors 0, 1 and 2 that is closed.

    Call it before anything else is opened. ``sys.stdin``, ``sys.stdout`` and
    ``sys.stderr``, which Python leaves as None then, become files.
    """
    for number, name in STANDARD.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets this number: it is the lowest that is free
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - it stays open


def flush_standard_streams() -> None:
    """Flush what Python has not written yet; a reader that is gone is not our fault."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def give_up_stdout() -> None:
    """Let what is still to be written go to /dev/null: Python would try once more at the exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
