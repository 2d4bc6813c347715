from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from hybrid.system.process.fork import EXIT_UNCAUGHT, Child, fork_child
from hybrid.system.process.processes import describe_exit


def status_of(child: Child) -> str:
    os.close(child.pidfd)
    return describe_exit(os.waitpid(child.pid, 0)[1])


def test_the_exit_code_is_what_run_returns() -> None:
    assert status_of(fork_child(lambda: 7, keep=())) == "exit code 7"


def test_an_exception_ends_the_child_and_never_unwinds_into_the_primary() -> None:
    unwound = []

    def run() -> int:
        raise RuntimeError("in the child")

    try:
        child = fork_child(run, keep=())
    finally:
        unwound.append(os.getpid())
    assert status_of(child) == f"exit code {EXIT_UNCAUGHT}"
    assert unwound == [os.getpid()]


def test_only_named_descriptors_reach_the_child() -> None:
    kept, lost = socket.socketpair()

    def run() -> int:
        alive = []
        for fd in (kept.fileno(), lost.fileno()):
            try:
                os.fstat(fd)
            except OSError:
                continue
            alive.append(fd)
        return 0 if alive == [kept.fileno()] else 1

    assert status_of(fork_child(run, keep=(kept.fileno(),))) == "exit code 0"
    kept.close()
    lost.close()


WITHOUT_A_FREE_DESCRIPTOR = """
import fcntl, os, resource
from hybrid.system.process.fork import fork_child

high = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 500)

def run():
    is_null = os.readlink("/proc/self/fd/0") == os.devnull
    try:
        os.fstat(high)
    except OSError:
        return 0 if is_null and os.get_inheritable(0) else 2
    return 1

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # nothing more can be opened
child = fork_child(run, keep=())
assert child.pidfd == -1
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
"""


def test_the_limit_of_descriptors_hides_none_and_leaves_room_for_standard_input() -> None:
    # In a process of its own: where libuv is loaded, its own hook opens a pipe in every child.
    code = [sys.executable, "-c", WITHOUT_A_FREE_DESCRIPTOR]
    result = subprocess.run(code, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_handlers_of_the_primary_are_gone_and_nothing_stays_blocked() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)

    def run() -> int:
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        return len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    child = fork_child(run, keep=(), dispositions={signal.SIGTERM: signal.SIG_IGN})
    signal.signal(signal.SIGUSR1, before)
    assert status_of(child) == "exit code 0"


def test_a_death_by_signal_is_named() -> None:
    def run() -> int:
        os.kill(os.getpid(), signal.SIGSEGV)
        return 0

    assert status_of(fork_child(run, keep=())) == "killed by SIGSEGV"
