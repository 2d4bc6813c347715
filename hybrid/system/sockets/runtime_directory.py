"""Where running servers leave their control sockets, and how to find one.

A private directory of the user: $XDG_RUNTIME_DIR/hybrid, for root /run/hybrid,
otherwise hybrid-UID in the directory for temporary files. A socket there is
named after the primary's pid. A user who can open it can stop the server, so a
directory that another user owns or may write to is not used.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def runtime_directories() -> Iterator[Path]:
    """Yield the places for control sockets, the best one first."""
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    if xdg:
        yield Path(xdg) / "hybrid"
    if os.geteuid() == 0:
        yield Path("/run/hybrid")
    yield Path(tempfile.gettempdir()) / f"hybrid-{os.geteuid()}"


def make_runtime_directory() -> Path:
    """Make the first directory that can be made, and return it.

    Raises:
        OSError: none could; the message is the last one's.
    """
    problem = OSError("no directory for the control socket can be made")
    for directory in runtime_directories():
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            check_private(directory)
        except OSError as ex:
            problem = ex
        else:
            return directory
    raise problem


def check_private(directory: Path) -> None:
    """Refuse a directory that is not ours alone.

    Raises:
        PermissionError: it is a link, another user's, or others may write to it.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{directory} is not a directory of this user alone")


def listen_at(path: Path) -> socket.socket:
    """Return a listening Unix socket, mode 0600; a dead server's socket is replaced.

    Raises:
        OSError: the path is in use, too long (107 bytes), or not writable.
    """
    if path.is_socket() and not _answers(path):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode has to be right from the first moment; the primary has one thread.
    before = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
        sock.listen(16)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def running() -> dict[int, Path]:
    """Return the control sockets that answer, by primary's pid; remove dead ones."""
    found: dict[int, Path] = {}
    for directory in runtime_directories():
        try:
            check_private(directory)
            paths = sorted(directory.glob("*.sock"))
        except OSError:
            continue
        for path in paths:
            if not path.stem.isdecimal():
                continue
            if _answers(path):
                found.setdefault(int(path.stem), path)
            else:
                path.unlink(missing_ok=True)
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # busy or forbidden: not ours to remove
        return True
