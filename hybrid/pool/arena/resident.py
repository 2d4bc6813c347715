"""Big read-only arrays, one physical copy per host, no owner process.

    nearest_to = hybrid.resident("vectors", "vectors.npy")      # a file, mapped
    table = hybrid.resident("table", make_table)                # computed once, mapped

The copy is the page cache's: every worker and pool process maps the same file
read-only. Call it in the job's own module: each process maps for itself, and
nothing travels. A computed array is written once per host: the first process
computes under a file lock, the others wait for it, and the file appears by
rename, so no process ever maps half of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("hybrid.error")

_DIRECTORY = "HYBRID_RESIDENT_DIR"  # where computed arrays are kept


def resident(
    name: str,
    source: str | os.PathLike[str] | Callable[[], NDArray[Any]],
    *,
    version: str = "",
) -> NDArray[Any]:
    """Return a read-only array that all processes of this host share.

    Args:
        name: of the array, for its file.
        source: an ``.npy`` file, or a function that computes the array.
        version: change it when the function would compute something else; its
            source code counts already, what it calls does not.

    Returns:
        The array, mapped: pages are read when they are touched, and dropped by
        the kernel when memory is short.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: the file is not an .npy file, or holds Python objects.
        ConfigError: the directory for computed arrays belongs to another user.
    """
    if not callable(source):
        return _mapped(Path(source))
    path = _directory() / f"{name}-{_fingerprint(name, source, version)}.npy"
    if not path.exists():
        _compute_once(path, source)
    try:
        return _mapped(path)
    except (EOFError, ValueError) as ex:  # cut, emptied, overwritten: it can be computed again
        logger.warning("%s is damaged and computed anew: %s", path, ex)
        _compute_once(path, source, damaged=path.stat().st_ino)
        return _mapped(path)


def _mapped(path: Path) -> NDArray[Any]:
    import numpy as np

    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    plain: NDArray[Any] = np.asarray(mapped)  # the mapping stays alive as its base
    return plain


def _fingerprint(name: str, source: Callable[[], Any], version: str) -> str:
    try:
        code = inspect.getsource(source)
    except (OSError, TypeError):  # built in a C module, or at a prompt
        code = ""
    where = f"{source.__module__}:{source.__qualname__}"
    return hashlib.sha256("\0".join((name, where, code, version)).encode()).hexdigest()[:16]


def _directory() -> Path:
    chosen = os.environ.get(_DIRECTORY)
    path = Path(chosen or Path(tempfile.gettempdir(), f"hybrid-resident-{os.getuid()}"))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    # In a directory that all users may write to, another user could have been first.
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{path} is not a directory of this user: set {_DIRECTORY} to one")
    return path


def _compute_once(
    path: Path, source: Callable[[], NDArray[Any]], damaged: int | None = None
) -> None:
    """Write the array unless another process has done so while we waited.

    Args:
        path: where it belongs.
        source: computes it.
        damaged: the inode of a file that is there and no array; one with another is new.
    """
    import numpy as np

    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the kernel, also at death
        if path.exists() and path.stat().st_ino != damaged:
            return
        draft = path.with_suffix(".draft")  # one writer: the holder of the lock
        with open(draft, "wb") as file:
            np.save(file, source(), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
