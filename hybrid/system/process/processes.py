"""Looking at processes and ending them. Runs anywhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def describe_exit(status: int) -> str:
    """Return how a process ended, from its ``waitpid`` status, for a log line."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    # The kernel's out-of-memory killer leaves no other trace than this.
    hint = " (by hand, or out of memory)" if -code == signal.SIGKILL else ""
    return f"killed by {name}{hint}"


def kill(pid: int, pidfd: int = -1, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal; a process that is already gone is fine.

    A pidfd always names the same process; a bare pid is safe only for a child
    that its own parent has not reaped yet.
    """
    try:
        if pidfd >= 0:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def thread_count() -> int:
    """Return the threads of this process, those of C libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def proportional_set_size(pid: int) -> int | None:
    """Return the bytes of memory of a process, shared pages divided by their sharers.

    The sum over the cluster is what it really takes; a sum of resident set
    sizes counts every page shared by fork once per process. None where the
    process is gone or the kernel does not say (not Linux, another user).
    Walks the page tables: about 1 ms, so not for every request.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None


def resident_set_size(pid: int) -> int | None:
    """Return the resident bytes of a process, None where it is gone or unknown. Some 10 µs."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
