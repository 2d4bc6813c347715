"""A pool process, seen from inside. Runs in a process that the primary forked.

     I/O worker                          |  this process
                                         |
     HELLO(modules, initialisers) -------+-> import them under their real names
                     READY(seconds) <----+-- only now
     RUN(address, args) -----------------+-> fn(*args)
     RESULT | ERROR | FAILED <-----------+--
     (closes its end) -------------------+-> EOF: leave

Rule 1: one job at a time, and nothing else in between: a blocking loop.
Rule 2: only SIGKILL and EOF end it. A signal that reaches the whole group
        (Ctrl-C, systemd) concerns the primary.
Rule 3: a job's result, exception and arguments are let go of before the answer
        is sent; whatever is still alive then was kept by the job's own code.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybrid.config import CpuConfig
from hybrid.pool import running as inside
from hybrid.pool.arena.window import ArenaReader
from hybrid.pool.job import find_function
from hybrid.pool.process.pickling import Buffer, FrameKind, PickledFrame, Reader, decode, encode
from hybrid.pool.process.pool_messages import (
    Failure,
    Note,
    ProcessHello,
    ProcessReady,
    Raised,
    Reason,
)
from hybrid.pool.running import execute
from hybrid.system.process.blas import set_blas_threads
from hybrid.system.process.descriptors import set_descriptor_limit

OOM_SCORE = 800  # of 1000: when the kernel must kill, a job goes before a worker
_TIDY_AFTER = 1.0  # s without a job, then free memory goes back to the system
# The C library raises these at the instruction at fault: ignoring them is
# undefined, and SIGCHLD must keep working for jobs that run subprocesses.
_NOT_IGNORED = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}


def member_main(
    sock: socket.socket,
    settings: CpuConfig,
    *,
    arena_fd: int | None = None,
    sys_path: Sequence[str] = (),
    soft_limit: int | None = None,
) -> int:
    """Serve jobs on `sock` until the worker closes its end; return the exit status.

    Args:
        sock: this process's end of the socket pair.
        settings: the pool's settings (nice, memory limit, BLAS threads, recycling).
        arena_fd: the worker's arena, from `WorkerResources`.
        sys_path: put in front of ``sys.path``: where the application's modules are.
        soft_limit: of descriptors, before the primary raised it. A job may run a program
            that uses select(2), which breaks above 1024.
    """
    sock.setblocking(True)
    # A group of its own: what a job leaves behind in it ends with this process (`Children.reap`).
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    _ignore_signals()
    _lower_priority(settings)
    if soft_limit is not None:
        set_descriptor_limit(soft_limit)
    sys.path[:0] = [path for path in sys_path if path not in sys.path]
    inside.mark_process()
    with contextlib.suppress(EOFError, ConnectionError):
        PoolProcess(sock, settings, arena_fd).serve()
    return 0


def _ignore_signals() -> None:
    for number in signal.valid_signals() - _NOT_IGNORED:
        # The C library keeps two real-time signals for itself.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # standard error may be closed
        faulthandler.register(signal.SIGUSR2)


def _lower_priority(settings: CpuConfig) -> None:
    if settings.nice:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, settings.nice)
    with contextlib.suppress(OSError):  # not Linux, or /proc is read-only
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def _limit_memory(more: int) -> None:
    """Let this process allocate `more` bytes beyond what it has now.

    Why not RLIMIT_AS: it also counts the arena and every shared library.
    """
    limit = _own_data() + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _own_data() -> int:
    """Return the bytes of heap and private mappings: what RLIMIT_DATA counts."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _own_pages() -> int:
    """Return the resident pages that are not shared: no libraries, no arena."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return resident - shared


class PoolProcess:
    """The loop of a pool process."""

    def __init__(self, sock: socket.socket, settings: CpuConfig, arena_fd: int | None) -> None:
        self._sock, self._settings = sock, settings
        self._reader = Reader(sock)
        self._arena_fd = arena_fd
        self._window: ArenaReader | None = None  # on the arena; None: frames carry everything
        self._functions: dict[str, Callable[..., Any]] = {}
        self._jobs_left = 0  # until this process asks to be replaced; 0: never
        self._rss_limit = 0  # bytes of own memory above which it asks as well; 0: never
        self._asked = False  # ... it has asked

    def serve(self) -> None:
        """Get ready, then run one job after the other; returns by EOFError."""
        if not self._get_ready():
            return
        while True:
            for frame in self._receive():
                self._run(frame)

    def _receive(self) -> Sequence[PickledFrame]:
        window = self._window
        while window is not None and window.spare:  # twice: a block is marked, then given back
            self._sock.settimeout(_TIDY_AFTER)
            try:
                return self._reader.read()
            except TimeoutError:
                window.tidy()
            finally:
                self._sock.settimeout(None)
        return self._reader.read()

    def _get_ready(self) -> bool:
        frames: Sequence[PickledFrame] = ()
        while not frames:
            frames = self._reader.read()
        hello: ProcessHello = decode(frames[0])
        started = time.monotonic()
        try:
            if self._arena_fd is not None and hello.region is not None:
                self._window = ArenaReader(self._arena_fd, hello.region)
            for address in hello.jobs:
                self._function(address)
            for address in hello.initializers:
                find_function(address)()
            set_blas_threads(self._settings.blas_threads)
            if self._settings.max_memory:
                _limit_memory(self._settings.max_memory)
        except BaseException:
            text = traceback.format_exc()
            self._send(encode(FrameKind.FAILED, Failure(Reason.NOT_READY, text, text)))
            return False
        self._jobs_left = hello.jobs_until_replacement
        self._rss_limit = hello.rss_until_replacement
        self._send(encode(FrameKind.READY, ProcessReady(time.monotonic() - started)))
        return True

    def _function(self, address: str) -> Callable[..., Any]:
        found = self._functions.get(address)
        if found is None:
            found = self._functions[address] = find_function(address)
        return found

    def _run(self, frame: PickledFrame) -> None:
        """Run the job of `frame` and answer."""
        answer = self._answer(frame)
        # Rule 3: by now only the job's own code can hold a view of its arguments.
        kept = self._window.end_loans() if self._window is not None else ()
        replace = self._wants_replacement()
        if kept or replace:
            answer = [*encode(FrameKind.NOTE, Note(kept, replace)), *answer]
        self._send(answer)

    def _answer(self, frame: PickledFrame) -> list[Buffer]:
        window = self._window
        private = frame.kind == FrameKind.RUN_WRITABLE
        view = None if window is None else window.copy if private else window.view
        try:
            address, freed, args, kwargs = decode(frame, view, writable=private)
            if window is not None:
                window.free(freed)
            fn = self._function(address)
        except MemoryError as ex:  # private copies of its arrays
            return self._answer_error(ex)
        except Exception as ex:
            said = f"{type(ex).__name__}: {ex}"
            return encode(
                FrameKind.FAILED, Failure(Reason.NOT_LOADABLE, said, traceback.format_exc())
            )
        result, raised = execute(fn, args, kwargs, private, self._report, private)
        del args, kwargs
        if raised is not None:
            return self._answer_error(raised)
        return self._answer_result(result)

    def _report(self, fraction: float, note: str) -> None:
        self._send(encode(FrameKind.PROGRESS, (fraction, note)))

    def _answer_result(self, result: Any) -> list[Buffer]:
        place = self._window.place_result if self._window is not None else None
        try:
            return encode(FrameKind.RESULT, result, place)
        except Exception as ex:
            if self._window is not None:
                self._window.free_results()
            if isinstance(ex, MemoryError):
                return self._answer_error(ex)
            name = type(result).__qualname__
            said = f"its result, a {type(result).__module__}.{name}, cannot be pickled: {ex}"
            return encode(FrameKind.FAILED, Failure(Reason.NOT_PICKLABLE, said, ""))

    def _answer_error(self, raised: BaseException) -> list[Buffer]:
        text = "".join(traceback.format_exception(raised))
        traceback.clear_frames(raised.__traceback__)
        if isinstance(raised, MemoryError) and self._settings.max_memory:
            self._jobs_left, self._asked = 1, False  # its heap is in unknown shape
            return encode(FrameKind.FAILED, Failure(Reason.OUT_OF_MEMORY, str(raised), text))
        name = f"{type(raised).__module__}.{type(raised).__qualname__}"
        try:
            pickled = pickle.dumps(raised.with_traceback(None), 5)
            pickle.loads(pickled)  # noqa: S301 - our own bytes: can the other side do this?
        except Exception as ex:
            said = f"it raised {name}: {raised}, which cannot be pickled: {ex}"
            return encode(FrameKind.FAILED, Failure(Reason.NOT_PICKLABLE, said, text))
        return encode(FrameKind.ERROR, Raised(pickled, name, text))

    def _wants_replacement(self) -> bool:
        if self._asked:
            return False
        if self._jobs_left:
            self._jobs_left -= 1
            self._asked = self._jobs_left == 0
        if self._rss_limit and not self._asked:
            self._asked = _own_pages() * resource.getpagesize() > self._rss_limit
        return self._asked

    def _send(self, chunks: list[Buffer]) -> None:
        if len(chunks) == 1:
            self._sock.sendall(chunks[0])
            return
        waiting = [memoryview(chunk) for chunk in chunks]
        while waiting:
            sent = self._sock.sendmsg(waiting[:64])  # far below IOV_MAX
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if waiting:
                waiting[0] = waiting[0][sent:]
