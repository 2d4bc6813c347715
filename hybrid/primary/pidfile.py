"""The pid file: written when the address is bound, removed at the end."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from hybrid.errors import ConfigError


class PidFile:
    """Context manager; does nothing without a path.

    Its owner holds a lock on it, which the kernel takes back at its death. So a
    file without a lock is stale, whatever program has its number by now: after
    a reboot, or in a container that is started again, numbers repeat.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path.absolute() if path is not None else None
        self._fd = -1

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        try:
            self._fd = _lock(self._path)
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode())
        except OSError as ex:
            raise ConfigError(f"cannot write the pid file {self._path}: {ex.strerror}") from ex
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)  # before the lock is gone: it is still ours
            os.close(self._fd)


def _lock(path: Path) -> int:
    """Return a descriptor of the file at `path`, locked.

    Raises:
        ConfigError: a running server has it.
        OSError: it cannot be opened.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode(errors="replace").strip() or "?"
            os.close(fd)
            raise ConfigError(
                f"{path}: process {pid} is running; stop it, or use another file"
            ) from None
        if _is_at(path, fd):
            return fd
        os.close(fd)  # its owner has just left and removed it


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def is_held(fd: int) -> bool:
    """Return whether some living server holds the pid file that `fd` has open."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
