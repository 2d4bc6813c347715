"""What code that runs inside a job can know and do: where it is, and `progress`.

Thread-local, because a worker runs jobs on several pool threads at once. In a
pool process the flag is process-wide: there, whatever runs belongs to a job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

Report = Callable[[float, str], None]


class _Here(threading.local):
    report: Report | None = None  # of the job that runs on this thread; None: no job does


_here = _Here()
_everywhere = False  # this is a pool process


def mark_process() -> None:
    """Declare that this whole process only runs jobs."""
    global _everywhere  # one fact about the process, set once before the first job
    _everywhere = True


def enter(report: Report) -> None:
    """A job begins on this thread."""
    _here.report = report


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

    Cost: on the process lane one small message; call it some times a second,
    not per element.
    """
    report = _here.report
    if report is not None:
        report(min(max(float(fraction), 0.0), 1.0), str(note))
