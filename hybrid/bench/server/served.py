"""Start a real server, know when it is ready, account for it, end it for certain.

Works for anything that prints ``listening on http://HOST:PORT`` on stderr:
`hybrid serve`, the null server, and the peers.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO

from hybrid.bench.server.procfs import Usage, private_bytes, session_members, usage
from hybrid.errors import HybridError

_READY = re.compile(r"listening on http://([0-9A-Za-z_.\-]+):(\d+)")
LOG_LIMIT = 1 << 20  # bytes of it that are read
_POLL = 0.01  # s between looks at the log or the process list
_LOOK, _QUIET = 0.1, 0.015  # s between looks at the CPU time, and how much of it is next to none
NULL_SERVER = (sys.executable, "-m", "hybrid.bench.server.nullserver")


class ServerFailed(HybridError):
    """The server under test did not start, or did not end; carries the end of its log."""


class Server:
    """A server under test: a context manager around its process tree.

    It runs in a session of its own with standard error in a file, so a full
    pipe cannot block it and Ctrl-C in the measuring program does not reach it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        boot_timeout: float = 60.0,
        stop_timeout: float = 10.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = tuple(command)
        self.boot_timeout, self.stop_timeout = boot_timeout, stop_timeout
        self.host, self.port = "", 0
        self.boot_seconds = 0.0
        self.ready_at = 0.0  # monotonic s
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the first process, which is also the session's id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def __enter__(self) -> Server:
        started = time.monotonic()
        self._log = tempfile.TemporaryFile()  # without a name: no kill leaves it behind
        self._process = subprocess.Popen(
            leashed(self.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=self._env,
            start_new_session=True,
        )
        try:
            self._await_ready(started + self.boot_timeout)
        except BaseException:
            self.stop()
            raise
        self.ready_at = time.monotonic()
        self.boot_seconds = self.ready_at - started
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def usage(self, *, memory: bool = False) -> Usage:
        """Return CPU seconds and, on request, the summed PSS of the tree."""
        return usage(self.pid, memory=memory)

    def settle(self, deadline: float = 3.0) -> None:
        """Wait until it uses next to no CPU: what an earlier load has left is done.

        A load ends with requests in flight, and an overload with many. The next
        one would measure them: 1,280 clients of a closed loop cost it 0.2 s.
        """
        end = time.monotonic() + deadline
        before = self.usage().cpu
        while time.monotonic() < end:
            time.sleep(_LOOK)
            now = self.usage().cpu
            if now - before <= _QUIET:
                return
            before = now

    def weight(self) -> tuple[int, int]:
        """Return bytes private to the heaviest process but the first, and the rest of Σ PSS."""
        others = [pid for pid in session_members(self.pid) if pid != self.pid]
        heaviest = max(map(private_bytes, others), default=0)
        return heaviest, max(self.usage(memory=True).pss - heaviest, 0)

    def log(self, lines: int = 20) -> str:
        """Return the end of what the server wrote to stderr."""
        if self._log is None:
            return ""
        # `pread`: the server writes at the position that both share.
        written = os.pread(self._log.fileno(), LOG_LIMIT, 0).decode(errors="replace")
        return "\n".join(written.splitlines()[-lines:])

    def stop(self) -> None:
        """Ask it to leave, then insist; returns when no process of it is left."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.stop_timeout)
            _end_session(process)
        finally:
            if self._log is not None:
                self._log.close()
                self._log = None

    def _await_ready(self, deadline: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline:
            found = _READY.search(self.log(1000))
            if found:
                self.host, self.port = found[1], int(found[2])
                return
            if self._process.poll() is not None:
                code = self._process.returncode
                raise ServerFailed(f"{self._named()} exited with {code}:\n{self.log()}")
            time.sleep(_POLL)
        raise ServerFailed(
            f"{self._named()} was not ready within {self.boot_timeout:g} s:\n{self.log()}"
        )

    def _named(self) -> str:
        return " ".join(self.command)


def leashed(command: Sequence[str]) -> list[str]:
    """Return `command` tied to the life of this process."""
    return [sys.executable, "-m", "hybrid.bench.server.leash", str(os.getpid()), *command]


def _end_session(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 5.0
    while True:
        # The group id cannot be given to another group while a member is alive.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.poll()
        left = session_members(process.pid)
        if not left and process.returncode is not None:
            return
        if time.monotonic() > deadline:
            raise ServerFailed(f"processes {left} of the server outlived SIGKILL")
        time.sleep(_POLL)
