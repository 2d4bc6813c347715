"""The pid file: written when the address is bound, removed at the end."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from hybrid.errors import ConfigError


class PidFile:
    """Context manager; does nothing without a path.

    A file whose process is gone is stale and replaced. The pid in it may by
    then belong to another program; that is told apart by nothing, so a living
    pid is believed and the start refused, which names the file to remove.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path.absolute() if path is not None else None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        running = _running_pid(self._path)
        if running is not None:
            raise ConfigError(
                f"{self._path}: process {running} is running; stop it, or remove the file"
            )
        try:
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            fresh.write_text(f"{os.getpid()}\n")
            fresh.replace(self._path)
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
            self._path.unlink(missing_ok=True)


def _running_pid(path: Path) -> int | None:
    try:
        pid = int(path.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid if pid != os.getpid() else None
