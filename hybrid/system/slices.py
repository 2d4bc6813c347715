"""Time slices: how long a thread may keep a CPU that somebody else is waiting for.

Linux 6.12 and newer run the thread that asked for the shorter slice first when
both could run (EEVDF). A pool thread computes for long, the event loop beside
it needs a CPU often and briefly; so pool threads ask for long slices, and the
loop is the shorter one without asking. No privilege is needed, unlike for a
better niceness; and a preempted pool thread computes in numpy, not under the GIL.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

LONG = 20_000_000  # ns; the scheduler's default is about 3 ms
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # syscall numbers; glibc has no wrapper


def ask_for_long_slices() -> bool:
    """Ask for this thread; return whether the kernel took it (an older one ignores it)."""
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        return False
    # size, policy (0: normal), flags, nice, priority, runtime (the slice), deadline, period
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack("IIQiIQQQ", 48, 0, 0, nice, 0, LONG, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
