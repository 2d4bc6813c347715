"""The pid file: written when the address is bound, removed at the end."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from hybrid.errors import ConfigError

_LONGEST = 32  # bytes that are read; a pid and its line's end are shorter


class PidFile:
    """Context manager; does nothing without a path.

    Its owner holds a lock on it, which the kernel releases at the owner's death. So
    a file without a lock is stale, even if another program has the number by now:
    after a reboot, or in a container that is started again, numbers repeat.
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
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
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
            if _is_at(self._path, self._fd):  # it may have been removed, and replaced
                self._path.unlink(missing_ok=True)  # before the lock is released: it is still ours
            os.close(self._fd)


def _lock(path: Path) -> int:
    """Return a descriptor of the file at `path`, locked.

    Raises:
        ConfigError: a running server has it, or it is not a pid file.
        OSError: it cannot be opened.
    """
    while True:
        fd = _open(path)
        try:
            pid = _read_pid(path, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ConfigError(
                f"{path}: process {pid or '?'} is running; stop it, or use another file"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        if _is_at(path, fd):
            return fd
        os.close(fd)  # its owner has just left and removed it


def _open(path: Path) -> int:
    # A symbolic link may lead to any file of this user, which would be overwritten.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o644)
    except OSError as ex:
        if ex.errno == errno.ELOOP and path.is_symlink():
            raise ConfigError(f"{path} is a symbolic link; name the pid file itself") from ex
        raise


def _read_pid(path: Path, fd: int) -> str:
    """Return the number in a file, "" if the file is empty.

    Raises:
        ConfigError: it has other content, and so it is not a pid file.
    """
    content = os.read(fd, _LONGEST) if stat.S_ISREG(os.fstat(fd).st_mode) else b"no file"
    pid = content.strip()
    if content and (not pid.isdigit() or len(content) == _LONGEST):
        raise ConfigError(f"{path} is not a pid file and is left alone; name another file")
    return pid.decode()


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def is_held(fd: int) -> bool:
    """Return whether a living server holds the pid file that `fd` has open."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
