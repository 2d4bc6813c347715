"""Run a program that cannot outlive the process that started it.

    python -m hybrid.bench.server.leash PARENT_PID program argument ...

Sets the parent-death signal and becomes the program. An interrupted notebook or
a killed benchmark then leaves no server behind, without a `preexec_fn` (unsafe
in a process with threads, such as a notebook kernel).
"""

from __future__ import annotations

import contextlib
import os
import sys

from hybrid.system.process.libc import die_with_parent


def main() -> None:
    """Tie this process to its parent, then exec the rest of the command line."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    with contextlib.suppress(OSError):  # not Linux: the caller's own clean-up has to do
        die_with_parent()
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
