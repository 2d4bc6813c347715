"""Whether the kernel has killed for want of memory: a SIGKILL says nothing about its sender.

The control group counts them (``oom_kill`` in ``memory.events``, cgroup v2); without
one the machine's own counter in ``/proc/vmstat`` stands in, which also counts the kills
of strangers. Some 20 µs, so only asked when a child was killed.
Source: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
"""

from __future__ import annotations

from pathlib import Path


class OutOfMemoryKills:
    """Counts since the last question."""

    def __init__(self) -> None:
        self._source = _find()
        self._seen = self._read()

    def happened(self) -> bool:
        """Return whether there has been one since the last call."""
        before, self._seen = self._seen, self._read()
        return self._seen > before

    def _read(self) -> int:
        if self._source is None:
            return 0
        try:
            lines = self._source.read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _find() -> Path | None:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("0::"):
            path = Path("/sys/fs/cgroup") / line[3:].lstrip("/") / "memory.events"
            if path.exists():
                return path
    machine = Path("/proc/vmstat")
    return machine if machine.exists() else None
