"""Calling a job's function, the same way in a thread, in a pool process and inline."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from hybrid.errors import JobError

# -- What must have happened in this process before its first job runs in it -----


class Preparation:
    """Calls a function once, whichever thread comes first; the others wait for it.

    One that raises is called again for the next job: every job says why it cannot run.
    """

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._lock = threading.Lock()
        self._is_done = False

    def __call__(self) -> None:
        """Make sure that it has been called.

        Raises:
            Exception: whatever the function raises.
        """
        if self._is_done:
            return
        with self._lock:
            if not self._is_done:
                self._prepare()
                self._is_done = True


# -- What code that runs inside a job can know and do: where it is, and `progress` ---
# Thread-local, because a worker runs jobs on several pool threads at once. In a
# pool process the flag is process-wide: there, whatever runs belongs to a job.

Report = Callable[[float, str], None]
_QUIET = 0.02  # s between two reports that get through; a person sees no more


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


# -- The one rule about arrays, the same on every lane ---------------------------
# A job sees its array arguments as read-only views; ``writable=True`` gives it
# private copies. Views cost nothing and cannot corrupt what the caller, or the
# next job, still uses. Lists, tuples and dicts are followed; an array inside any
# other object is followed on the process lane only, where all of them are views.
#
# Cost: O(items of the containers); runs where the job runs, never on the loop.

_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None)))  # nothing inside

_NUMBERS = "biufc"  # kinds of dtype that have a buffer


def guarded(
    args: tuple[Any, ...], kwargs: dict[str, Any], writable: bool, private: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with every array replaced as the module says.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        writable: as declared by the job.
        private: the arrays belong to this job alone (they came out of a frame);
            then only those that were read-only at the caller need a copy.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or (not kwargs and _PLAIN.issuperset(map(type, args))):  # no array in there
        return args, kwargs
    array: type = numpy.ndarray
    treat: Callable[[Any], Any] = _view
    if writable:
        treat = _thawed if private else _copy
    guarded_args = tuple(_walk(item, array, treat) for item in args)
    return guarded_args, {name: _walk(item, array, treat) for name, item in kwargs.items()}


def _walk(value: Any, array: type, treat: Callable[[Any], Any]) -> Any:
    if isinstance(value, array):
        return treat(value)
    kind = type(value)
    if kind is list or kind is tuple:
        walked = [_walk(item, array, treat) for item in value]
        return walked if kind is list else tuple(walked)
    if kind is dict:
        return {key: _walk(item, array, treat) for key, item in value.items()}
    return value


def _view(array: Any) -> Any:
    numpy = sys.modules["numpy"]
    if type(array) is numpy.ndarray and array.flags.c_contiguous and array.dtype.kind in _NUMBERS:
        # A view of writable memory can be made writable again; one of a read-only buffer cannot.
        return numpy.asarray(memoryview(array).toreadonly())
    view = array.view()
    view.flags.writeable = False
    return view


def _copy(array: Any) -> Any:
    return array.copy()


def _thawed(array: Any) -> Any:
    return array if array.flags.writeable else array.copy()


def execute(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    writable: bool,
    report: Report,
    private: bool = False,
) -> tuple[Any, BaseException | None]:
    """Call `fn` as a job and return (result, None) or (None, what it raised).

    `writable` and `private` as for `guarded`.
    """
    enter(report)
    try:
        if args or kwargs:
            args, kwargs = guarded(args, kwargs, writable, private)
        return fn(*args, **kwargs), None
    except BaseException as ex:
        # The traceback begins in the job's own code, as if it had been called directly.
        raised = ex.with_traceback(ex.__traceback__.tb_next if ex.__traceback__ else None)
    finally:
        leave()
    return None, raised


def presentable(raised: BaseException, name: str) -> Exception:
    """Return what the submitter gets to see of an exception.

    Nearly always the exception itself. But SystemExit, KeyboardInterrupt and a
    cancellation would stop the worker's loop instead of reaching the handler,
    and a StopIteration cannot pass through a coroutine at all (PEP 479).
    """
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    error = JobError(f"job {name} raised {type(raised).__name__}: {raised}")
    error.__cause__ = raised
    return error
