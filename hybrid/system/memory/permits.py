"""At most N jobs at once in the whole cluster, whichever process dies.

Permit k is a POSIX record lock on byte k of one memfd that all workers share.
The kernel gives it back when its holder dies, so nothing can leak; taking a
free one is one system call of some 2 µs.

Rule 1: a record lock belongs to the *process*, and locking twice succeeds
        twice; so each process remembers which bytes are its own.
Rule 2: closing any descriptor of the file drops all locks of the process
        (fcntl(2)); so no code may close, reopen or dup the memfd here.
Rule 3: a wake-up is a hint. A process that gives a permit back rings the process
        whose job has waited longest; one that waits also tries by itself every RETRY.
Rule 4: a permit may be kept for one turn of the event loop while no other process
        waits: the client that got an answer often has the next job at once.
Rule 5: only a worker that answers its bell is waited for. One that has been rung
        and has not answered after two such tries is stopped, or its
        loop is blocked: it is passed over until it does.

Why the answers to the bell, and not the worker's tick: a tick says that the loop ran
a while ago, and how long a while may be is a matter of taste. A worker that waits for a
permit only has to answer its bell, so an answer is exactly what is awaited.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile

from hybrid.system.scoreboard.scoreboard import Scoreboard, Wait

RETRY = 0.010  # s between two tries of a process that waits


class PermitTable:
    """The memfd and one bell per worker row. Made once, in the primary."""

    def __init__(self, permits: int, rows: int) -> None:
        """Make a table.

        Args:
            permits: jobs at once in the cluster, at least 1.
            rows: rows of the scoreboard; a worker's bell has its row's number.
        """
        self.permits = permits
        self.fd = _shared_file()
        os.ftruncate(self.fd, permits)
        self.bells = [_bell() for _ in range(rows)]

    @property
    def fds(self) -> list[int]:
        """Every descriptor, for a worker's keep-list."""
        return [self.fd, *self.bells]

    def in_use(self) -> int:
        """Return how many permits are taken. For a process that holds none; 2 µs each."""
        return sum(_is_taken(self.fd, permit) for permit in range(self.permits))

    def close(self) -> None:
        """Close everything; only for a process that holds no permit."""
        for fd in self.fds:
            os.close(fd)


class Permits:
    """One worker's access to the table."""

    def __init__(self, table: PermitTable, scoreboard: Scoreboard, row: int) -> None:
        self._fd, self._permits = table.fd, table.permits
        self._bells = table.bells
        self._scoreboard, self._row = scoreboard, row
        self._since = 0.0  # what our row says
        self._free = list(range(table.permits))  # rule 1: not ours; perhaps another's
        self._kept: list[int] = []  # rule 4: ours, and no job of ours has it
        # Rule 5: the row we last left a permit to, and how it looked then.
        self._preferred: tuple[int, Wait] | None = None
        self._preferred_before: tuple[int, Wait] | None = None  # the same at the last try
        self._silent: dict[int, Wait] = {}  # rows that did not answer, as they looked then

    def fileno(self) -> int:
        """Return the bell: readable when another process thinks it is our turn."""
        return self._bells[self._row]

    def answer_bell(self) -> None:
        """Make the bell silent again, and let the others see that it was answered."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._bells[self._row], 8)
        self._scoreboard.answers_bell(self._row)

    def waits_since(self, since: float) -> None:
        """Publish since when our oldest job waits for a permit; 0.0: none does."""
        if since != self._since:
            self._since = since
            self._scoreboard.waits_since(self._row, since)

    def take(self, since: float, patient: bool = True) -> int | None:
        """Take a permit for a job that waits since `since`; None: not now.

        Args:
            since: monotonic seconds, to be compared with the other workers'.
            patient: leave it to a worker whose job is older. The try at every
                RETRY is not patient.

        Without patience the worker that gives a permit back would take it again for its
        own next job: it knows first. A worker whose jobs are longer or rarer would then
        wait without end. With nothing but patience a permit would lie idle whenever the
        older worker is stopped or has just died; hence the impatient try.
        """
        if patient and self._is_older_elsewhere(since):
            self.release()
            return None
        if self._kept:
            return self._kept.pop()
        for position in range(len(self._free) - 1, -1, -1):
            permit = self._free[position]
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, permit)
            except OSError:
                continue
            del self._free[position]
            return permit
        return None

    def _is_older_elsewhere(self, since: float) -> bool:
        oldest = self._oldest_elsewhere()
        if oldest is None:
            return False
        wait = self._scoreboard.wait_of(oldest)
        if wait[0] >= since:
            return False
        self._ring(oldest)
        self._preferred = oldest, wait
        return True

    def _oldest_elsewhere(self) -> int | None:
        """Return the row whose job has waited longest; None: it is ours, or none waits."""
        oldest = self._scoreboard.oldest_waiting(self._silent)
        return None if oldest == self._row else oldest

    def pass_over_silent(self) -> None:
        """Pass over the worker that we leave permits to, if it does not answer (rule 5).

        Called every RETRY while a job of ours waits. Why the second call decides: the bell
        may have been rung just before the first.
        """
        preferred, before = self._preferred, self._preferred_before
        self._preferred_before = preferred
        if preferred is None or preferred != before:
            return
        row, wait = preferred
        if self._scoreboard.wait_of(row) == wait:
            self._silent[row] = wait

    def keep(self, permit: int) -> bool:
        """Keep a permit (rule 4), or give it back if another worker waits.

        Returns:
            Whether it was kept: then the caller sees to it that `release` follows.
        """
        oldest = self._oldest_elsewhere()
        if oldest is not None:
            self._unlock(permit)
            self._ring(oldest)
            return False
        self._kept.append(permit)
        return True

    def release(self) -> None:
        """Give back what is kept."""
        if self._kept:
            for permit in self._kept:
                self._unlock(permit)
            self._kept.clear()
            self.ring_next()

    def _unlock(self, permit: int) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, permit)
        self._free.append(
            permit
        )  # last: tried first next time, when no other worker is likely to hold it

    def ring_next(self) -> None:
        """Ring the worker whose job has waited longest, unless it is ours."""
        oldest = self._oldest_elsewhere()
        if oldest is not None:
            self._ring(oldest)

    def note_missed(self, now: float) -> None:
        """Tell all workers that a job of ours has given up waiting for a permit."""
        self._scoreboard.row(self._row).set("permit_missed_at", now)

    def is_missed(self, before: float, after: float) -> bool:
        """Return whether jobs of any worker miss a permit.

        That is: none is free, and a job waits for one since `before`, or has given up
        waiting later than `after` (monotonic s). Some 2 µs per permit and row.
        """
        board = self._scoreboard
        oldest = board.oldest_waiting()
        is_waiting = oldest is not None and board.wait_of(oldest)[0] <= before
        if not is_waiting and all(row.get("permit_missed_at") <= after for row in board.rows()):
            return False
        return not self._kept and all(_is_taken(self._fd, permit) for permit in self._free)

    def _ring(self, row: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._bells[row], _ONE)


_ONE = (1).to_bytes(8, "little")


def _is_taken(fd: int, permit: int) -> bool:
    # struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
    question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, permit, 1, 0)
    (kind,) = struct.unpack_from("h", fcntl.fcntl(fd, fcntl.F_GETLK, question))
    return bool(kind != fcntl.F_UNLCK)


def _shared_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hybrid-permits", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp()  # record locks need a file; its name can go at once
    os.unlink(path)
    return fd


def _bell() -> int:
    if hasattr(os, "eventfd"):
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "bell")
    os.mkfifo(path)
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)
    finally:
        os.unlink(path)
        os.rmdir(directory)
