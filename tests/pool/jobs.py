"""Jobs of the pool's tests; imported under this name by pool processes, too."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import hybrid
from hybrid.pool.running import progress

memo: list[Any] = []
opened_at = os.getpid()


def add(a, b=1):
    return a + b


def pid():
    return os.getpid()


def thread_name():
    return threading.current_thread().name


def fail(message):
    raise KeyError(message)


class Awkward(Exception):
    """Cannot be unpickled: its constructor wants two arguments, args holds one."""

    def __init__(self, a, b):
        super().__init__(a)
        self.b = b


def fail_awkwardly():
    raise Awkward(1, 2)


def fail_with_lock():
    raise ValueError(threading.Lock())


def leave(code):
    raise SystemExit(code)


def stop_iteration():
    raise StopIteration


def chain():
    try:
        raise OSError("first")  # noqa: TRY301 - the chain is the point
    except OSError as ex:
        raise LookupError("second") from ex


def returns_lock():
    return threading.Lock()


def is_writeable(array):
    return array.flags.writeable


def flags_of(*arrays, **named):
    return [a.flags.writeable for a in arrays], {k: a.flags.writeable for k, a in named.items()}


def nested_flags(items):
    return [items["a"][0].flags.writeable, items["b"].flags.writeable]


def increment(array):
    array += 1
    return array


def echo(value):
    return value


def total(array):
    return float(array.sum())


def address_of(array):
    return array.__array_interface__["data"][0] % 64


def keep(array):
    memo.append(array)
    return float(array[0])


def makes_a_cycle(array):
    ring = [array[1:]]
    ring.append(ring)
    return float(array[0])


def kept_value():
    return float(memo[-1][0]) if memo else None


def wait_for(path, seconds=20.0):
    """Wait until the file exists, then return the process."""
    end = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.002)
    return os.getpid()


def started_then_wait(mark, path, seconds=20.0):
    Path(mark).touch()
    return wait_for(path, seconds)


def started_here_then_wait(mark, path):
    Path(f"{mark}-{os.getpid()}").touch()
    return wait_for(path)


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def spin(seconds):
    end = time.monotonic() + seconds
    n = 0
    while time.monotonic() < end:
        n += 1
    return n


def exit_now(code=3):
    os._exit(code)


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def close_sockets():
    for fd in range(3, 64):
        try:
            sock = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        if sock.family == socket.AF_UNIX:
            os.close(fd)
        sock.close()
    time.sleep(20)


def fork_and_exit():
    """Leave a grandchild behind that keeps the socket open, and die."""
    if os.fork() == 0:
        time.sleep(3)
    os._exit(0)


def eat(megabytes):
    return np.ones(megabytes * 2**17).sum()


def signals_then(seconds):
    """Send itself what a terminal or systemd sends to the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        os.kill(os.getpid(), number)
    time.sleep(seconds)
    return "alive"


def run_subprocess():
    return subprocess.run(["true"], timeout=10, check=True).returncode


def nice():
    return os.getpriority(os.PRIO_PROCESS, 0)


def oom_score():
    return int(Path("/proc/self/oom_score_adj").read_text())


def blas():
    from hybrid.system.process.blas import blas_threads

    np.ones((2, 2)) @ np.ones((2, 2))
    return blas_threads()


def steps(n, pause=0.03):
    for k in range(n):
        progress((k + 1) / n, f"step {k + 1}")
        time.sleep(pause)
    return n


async def _submit_inside():
    return await hybrid.submit(add, 1)


def submit_inside():
    coroutine = _submit_inside()
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


@hybrid.job(releases_gil=True)
def threaded(a):
    return a * 2


@hybrid.job(name="renamed", waits=True)
def processed(a):
    return a * 3


@hybrid.job(writable=True)
def doubled_in_place(array):
    array *= 2
    return array


@hybrid.job(releases_gil=True, writable=True)
def doubled_in_place_thread(array):
    array *= 2
    return array


def multiply(n):
    a = np.random.default_rng(0).normal(size=(n, n))
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        a @ a
    return n


prepared: list[int] = []


def prepare():
    prepared.append(os.getpid())


def prepared_here():
    return prepared == [os.getpid()]


def remember(value):
    memo.append(value)
    return os.getpid()


def remembered():
    return memo[-1]


def exit_unless(pid):
    if os.getpid() != pid:
        os._exit(1)


def report_often(n):
    for k in range(n):
        progress(k / n, "")
        time.sleep(0.001)
    return n


def report_the_end(n):
    for k in range(n):
        progress(1.0, str(k))


def spin_in_a_process(seconds):
    if not threading.current_thread().name.startswith("hybrid-pool"):
        spin(seconds)


def touch_in_a_process(path):
    if not threading.current_thread().name.startswith("hybrid-pool"):
        Path(path).touch()


def write_to_the_socket(data):
    """Write to the one socket of this process, then wait to be found out."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.write(int(name), data)
    time.sleep(20.0)


def look_from_a_forked_child(x: Any) -> int:
    """Return the wait status of a child that touches its parent's argument."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        os._exit(int(x[0] == x[0]))
    return os.waitpid(child, 0)[1]


_end = threading.Event()


def leave_a_thread(x: Any) -> None:
    """Return while a thread goes on, which no reference in Python connects with `x`."""
    memo.append(threading.Thread(target=_end.wait, daemon=True))
    memo[-1].start()


def end_the_thread() -> bool:
    _end.set()
    memo[-1].join()
    return not memo.pop().is_alive()


def make_writable(x: Any) -> None:
    x.flags.writeable = True
    x[...] = 0
