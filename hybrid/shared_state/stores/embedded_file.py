"""Where the embedded store lies unless the operator names a file: beside the control socket.

It is called after the primary and ends with it. So it survives every worker and
every reload, and two servers of one user do not share it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hybrid.system.sockets.runtime_directory import (
    check_private,
    make_runtime_directory,
    runtime_directories,
)

_SUFFIX = ".state"
_PARTS = ("", "-wal", "-shm")  # SQLite keeps two more files beside each


def embedded_path(primary: int) -> str:
    """Return the file for the workers of a primary; its folder is made.

    Raises:
        OSError: there is no folder for it.
    """
    return str(make_runtime_directory() / f"{primary}{_SUFFIX}")


@contextmanager
def embedded_store() -> Iterator[None]:
    """Leave no file of this primary behind, nor find one of another that had its pid."""
    primary = os.getpid()
    remove_embedded(primary)
    try:
        yield
    finally:
        if os.getpid() == primary:  # not in a forked child
            remove_embedded(primary)


def remove_embedded(primary: int) -> None:
    """Remove the file of a primary, and those of primaries that are gone."""
    for directory in runtime_directories():
        try:
            check_private(directory)
            found = list(directory.glob(f"*{_SUFFIX}"))
        except OSError:
            continue
        for path in found:
            if path.stem.isdecimal() and (int(path.stem) == primary or _is_gone(int(path.stem))):
                for part in _PARTS:
                    path.with_name(path.name + part).unlink(missing_ok=True)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # another user's
    return False
