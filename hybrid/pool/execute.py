"""Calling a job's function, the same way in a thread, in a pool process and inline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hybrid.errors import JobError
from hybrid.pool import inside
from hybrid.pool.arguments import guarded


def execute(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    writable: bool,
    report: inside.Report,
    private: bool = False,
) -> tuple[Any, BaseException | None]:
    """Call `fn` as a job and return (result, None) or (None, what it raised).

    `writable` and `private` as for `guarded`.
    """
    inside.enter(report)
    try:
        if args or kwargs:
            args, kwargs = guarded(args, kwargs, writable, private)
        return fn(*args, **kwargs), None
    except BaseException as ex:
        # The traceback begins in the job's own code, as if it had been called directly.
        raised = ex.with_traceback(ex.__traceback__.tb_next if ex.__traceback__ else None)
    finally:
        inside.leave()
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
