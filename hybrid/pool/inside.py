"""What code that runs inside a job can know and do: where it is, and `progress`.

Thread-local, because a worker runs jobs on several pool threads at once. In a
pool process the flag is process-wide: there, whatever runs belongs to a job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

Report = Callable[[float, str], None]
_QUIET = 0.02  # s between two reports that get through; more nobody can see


class _Here(threading.local):
    report: Report | None = None  # of the job that runs on this thread; None: no job does
    quiet_until: float = 0.0  # monotonic s
    has_said_done: bool = False  # 1.0 has been reported


_here = _Here()
_everywhere = False  # this is a pool process


def mark_process() -> None:
    """Declare that this whole process only runs jobs."""
    global _everywhere  # one fact about the process, set once before the first job
    _everywhere = True


def enter(report: Report) -> None:
    """A job begins on this thread."""
    _here.report = report
    _here.quiet_until = 0.0
    _here.has_said_done = False


def leave() -> None:
    """The job of this thread is over."""
    _here.report = None


def is_inside_job() -> bool:
    """Return whether the caller runs inside a job."""
    return _everywhere or _here.report is not None


def progress(fraction: float, note: str = "") -> None:
    """Tell the submitter how far this job is; outside a job this does nothing.

    Args:
        fraction: done so far, 0 … 1.
        note: one line for people.

    Cost: call it as often as you like, 0.1 µs each: at most 50 reports a second
    get through (the first one and the first of 1.0 always do), 20 µs each.
    """
    report = _here.report
    if report is None:
        return
    now = monotonic()
    is_done = fraction >= 1.0
    if now < _here.quiet_until and (_here.has_said_done or not is_done):
        return
    _here.has_said_done = is_done
    _here.quiet_until = now + _QUIET
    report(min(max(float(fraction), 0.0), 1.0), str(note))
