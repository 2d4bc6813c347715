"""How the listening sockets end: a last worker, the acceptor, answers what still waits in them.

When a cluster stops, connections wait in the backlog that no worker has
accepted yet. One worker empties it; then the primary closes its own copies, and
that worker has the last ones: it looks once more, and nobody is reset.
"""

from __future__ import annotations

from hybrid.core.workers.lifecycle import WorkerRecord


class Ending:
    """Who is the last acceptor, and whether the primary's copies are still open."""

    def __init__(self) -> None:
        self._acceptor: int | None = None
        self._is_open = True

    def appoint(self, worker: WorkerRecord) -> bool:
        """Return whether this worker, which leaves, is the last acceptor from now on."""
        if not self._is_open or self._acceptor is not None or not worker.has_listened:
            return False
        self._acceptor = worker.id
        return True

    def forget(self, worker: int) -> None:
        """Note a death: if it was the acceptor's, the next `appoint` finds another one."""
        if self._acceptor == worker:
            self._acceptor = None

    def emptied(self, worker: int) -> bool:
        """Return whether the copies are to be closed, because the acceptor is done."""
        return self._acceptor == worker and self.close()

    def close(self) -> bool:
        """Close the copies; return whether that is news."""
        was_open, self._is_open = self._is_open, False
        return was_open
