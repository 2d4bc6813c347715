"""The only place that forks. Runs in the primary, and in the child it makes.

     primary                               | child
                                           |
     block every signal                    |
     flush stdout, stderr                  |
     fork ---------------------------------+-> die with the primary (PDEATHSIG)
     open a pidfd                          |   forget the primary's signal handlers
     unblock                               |   close every descriptor not kept
     return Child(pid, pidfd)              |   unblock, run(), os._exit()

Rule 1: the primary has one thread when it forks, or the child may inherit a
        lock that no thread will ever release.
Rule 2: the child never unwinds through the primary's frames: a ``finally``
        or ``with`` of the primary would run twice, once in each process.
Rule 3: a descriptor reaches the child only if its caller named it. An
        inherited listener or socket-pair end that no code knows of keeps a
        port busy, or an EOF from ever being seen.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from hybrid.system.process.libc import die_with_parent
from hybrid.system.process.streams import flush_standard_streams

_HIGHEST = 65_535  # descriptor that is looked for where neither a list nor a limit says
EXIT_ORPHANED = 71  # the primary died while the child was being born
EXIT_UNCAUGHT = 70  # EX_SOFTWARE of sysexits(3): an exception that was not caught

Disposition = signal.Handlers | Callable[[int, object], object]


@dataclass(frozen=True, slots=True)
class Child:
    """A forked process. `pidfd` is -1 where the kernel has none (not Linux)."""

    pid: int
    pidfd: int


def fork_child(
    run: Callable[[], int],
    keep: Collection[int],
    detach: Iterable[socket.socket] = (),
    dispositions: Mapping[signal.Signals, Disposition] | None = None,
) -> Child:
    """Fork a process that calls `run` and exits with its result.

    Args:
        run: called in the child, with signals unblocked; its int is the exit
            status. An exception is printed and becomes status 70.
        keep: descriptors that stay open in the child; 1 and 2 always do, and
            0 becomes /dev/null.
        detach: the primary's socket objects. In the child they forget their
            descriptors, so that a later garbage collection cannot close a
            number that by then belongs to something else.
        dispositions: signal handlers to be in force in the child before any
            signal can arrive; every other signal gets its default.

    Returns:
        The child. The caller owns the pidfd and must reap the pid.

    Raises:
        OSError: the system has no room for another process (EAGAIN, ENOMEM).
    """
    flush_standard_streams()
    primary = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _live(run, primary, keep, detach, dispositions or {})
        return Child(pid, _open_pidfd(pid))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(
    run: Callable[[], int],
    primary: int,
    keep: Collection[int],
    detach: Iterable[socket.socket],
    dispositions: Mapping[signal.Signals, Disposition],
) -> None:
    """Become the child, run, and leave the process. Never returns."""
    status = EXIT_UNCAUGHT
    try:
        _die_with(primary)
        _reset_signals(dispositions)
        for sock in detach:
            sock.detach()
        _close_all_but(keep)
        _reseed()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        status = run()
    except SystemExit as ex:
        status = ex.code if isinstance(ex.code, int) else EXIT_UNCAUGHT
    except BaseException:
        traceback.print_exc()
    finally:
        flush_standard_streams()
        os._exit(status)


def _die_with(primary: int) -> None:
    """Ask the kernel for SIGKILL at the primary's death.

    Where that is impossible (not Linux) a child notices the EOF of its link instead;
    that takes as long as its longest job, because a busy process reads nothing.
    """
    with contextlib.suppress(OSError):
        die_with_parent()
    if os.getppid() != primary:  # it died before it could be asked for
        os._exit(EXIT_ORPHANED)


def _reset_signals(dispositions: Mapping[signal.Signals, Disposition]) -> None:
    signal.set_wakeup_fd(-1)  # the primary's wake-up socket is about to be closed
    for number in signal.valid_signals():
        # SIGKILL and SIGSTOP refuse; the C library keeps two real-time signals.
        with contextlib.suppress(OSError, ValueError):
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
    for name, handler in dispositions.items():
        signal.signal(name, handler)
    # A write to a closed socket is an error to handle, not a reason to die.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _close_all_but(keep: Collection[int]) -> None:
    # Standard input goes first, so that one number is free for what is opened here: the
    # primary may be at its limit.
    os.closerange(0, 1)
    highest = _highest_descriptor()
    low = 3
    for fd in sorted(set(keep) - {0, 1, 2}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, highest + 1)
    os.open(os.devnull, os.O_RDONLY)  # gets the lowest number that is free, 0
    os.set_inheritable(0, True)


def _highest_descriptor() -> int:
    """Return the highest number that is open.

    Why not the limit: it may be a million, to be closed one by one where the C
    library has no close_range(2); and it may have been lowered since.
    """
    try:
        return max(map(int, os.listdir("/proc/self/fd")))
    except OSError:  # not Linux
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return _HIGHEST if limit == resource.RLIM_INFINITY else limit - 1


def _reseed() -> None:
    """Give numpy's global generator its own state; `random` does so by itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _open_pidfd(pid: int) -> int:
    """Return a pidfd, -1 where there is none (not Linux) or no descriptor is left."""
    try:
        return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except OSError:
        return -1  # the child is there all the same, and a child's pid is safe until it is reaped
