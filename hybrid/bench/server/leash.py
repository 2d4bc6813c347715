"""Run a program that cannot outlive the one who started it.

    python -m hybrid.bench.server.leash PARENT_PID program argument ...

Sets the parent-death signal and becomes the program. An interrupted notebook or
a killed benchmark then leaves no server behind, without a `preexec_fn` (unsafe
in a process with threads, such as a notebook kernel).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Tie this process to its parent, then exec the rest of the command line."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the signal was armed
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
