"""Time slices: how long a thread may keep a CPU that another thread is waiting for.

Linux 6.12 and newer run the thread that asked for the shorter slice first when
both could run (EEVDF). A pool thread computes for long, the event loop of the
same worker needs a CPU often and briefly; so pool threads ask for long slices,
and the loop is the shorter one without asking. No privilege is needed, unlike
for a better niceness; and a preempted pool thread computes in numpy, not under the GIL.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

# -- Being woken in time on cores that the server under test keeps busy ----------
# A generator that waits for a CPU books its own lateness on the server. What it
# needs is not more CPU but a prompt one. With two busy loops on two cores, 500
# requests/s left at most 0.94 ms late (p99) by default, 0.12 ms with a short time
# slice, 0.10 ms with the session preferred (Linux 6.18).

SLICE = 100_000  # ns; the scheduler's default is about 3 ms

_SCHED_OTHER = 0


def be_prompt() -> None:
    """Ask for a short time slice, and for preference; either may be refused.

    The slice is for everybody (EEVDF wakes who asks for little first; Linux
    6.12, sched_setattr(2)). Each session is a scheduling group of its own where
    autogroups are on (sched(7)), and there only a privileged user may prefer one.
    What neither achieves is caught by the send-lag gate.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-10")
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None:
        # size, policy, flags, nice, priority, runtime (the slice), deadline, period
        attributes = struct.pack("IIQiIQQQ", 48, _SCHED_OTHER, 0, 0, 0, SLICE, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)


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
