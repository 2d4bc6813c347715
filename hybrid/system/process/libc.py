"""What only the C library offers: Python has no function for it.

Every call raises OSError with the kernel's reason. Where the function does not
exist (not Linux, not glibc, an unknown processor) that reason is ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # syscall numbers; glibc has no wrapper
_SCHED_OTHER = 0  # the policy of ordinary threads

_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Ask the kernel to send SIGKILL to this process when its parent has died.

    A parent that died before the call is not noticed: compare ``os.getppid()`` afterwards.
    """
    if _function("prctl")(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise _error("prctl")


def set_time_slice(nanoseconds: int) -> None:
    """Set how long this thread keeps a CPU that another thread waits for; see sched_setattr(2)."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no syscall number of sched_setattr on {platform.machine()}")
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # size, policy, flags, nice, priority, runtime (the slice), deadline, period
    attributes = struct.pack("IIQiIQQQ", 48, _SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
    if _function("syscall")(number, 0, attributes, 0) != 0:
        raise _error("sched_setattr")


def set_malloc_option(option: int, value: int) -> None:
    """Set an option of glibc's heap; see mallopt(3), which gives no reason for a refusal."""
    if not _function("mallopt")(option, value):
        raise OSError(errno.EINVAL, f"mallopt refused option {option} = {value}")


def trim_heap() -> bool:
    """Give every free page of the heap back; return whether there was one. 5 ms for 100 MB."""
    return bool(_function("malloc_trim")(0))


def _function(name: str) -> Any:
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"the C library has no {name}")
    return function


def _error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")
