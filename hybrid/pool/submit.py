"""What a user calls: `submit`, from any handler, script or test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from hybrid.config import CpuConfig
from hybrid.core.departure import JobTimes, current_departure
from hybrid.core.jobs.ticket import Priority
from hybrid.errors import JobRefused
from hybrid.pool.call import Progress
from hybrid.pool.job import Job, LaneName, as_job
from hybrid.pool.running import is_inside_job

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from hybrid.pool.pool import Pool

_current: Pool | None = None  # this worker's pool, installed by `set_current_pool`
_inline: Pool | None = None  # stands in where there is no server


async def submit(
    fn: Job | Callable[..., Any],
    /,
    *args: Any,
    deadline: float | None = None,
    lane: LaneName | None = None,
    priority: Literal["normal", "low"] = "normal",
    on_progress: Progress | None = None,
    **kwargs: Any,
) -> Any:
    """Run ``fn(*args, **kwargs)`` in this worker's pool and return its result.

    Without a server the job runs inline: the same call works in a script or test.

    Args:
        fn: a job, or a plain function at the top level of a module (process lane).
        args: positional arguments; arrays arrive as read-only views.
        deadline: seconds for waiting and running together; None: the server's default.
        lane: overrides the lane that the job declares.
        priority: "low" waits until nothing of "normal" could run.
        on_progress: called with (fraction, note) when the job calls `hybrid.progress`.
        kwargs: keyword arguments of `fn`.

    Raises:
        QueueFull: refused at once, because no place is free; nothing has run.
        DeadlineTooShort: the same, because the deadline would pass in the queue.
        JobTimeout: the deadline passed.
        JobCancelled: the client of the current request is gone.
        JobRefused: this lane cannot run it, or this is the inside of a job.
        PoolBroken: its pool process died.
        Exception: whatever `fn` raises, with the remote traceback as its cause.
    """
    if is_inside_job():
        raise JobRefused(
            "submit() was called inside a job: two jobs that wait for each other's slot never "
            "end; call the function directly, or submit from the handler"
        )
    departure = current_departure.get()
    return await current_pool().run(
        fn if isinstance(fn, Job) else as_job(fn),
        args,
        kwargs,
        deadline=deadline,
        lane=lane,
        priority=Priority.NORMAL if priority == "normal" else Priority(priority),
        departure=departure,
        on_progress=on_progress,
        times=None if departure is None else departure.book(),
    )


async def broadcast(fn: Callable[..., Any], /, *args: Any, deadline: float | None = None) -> Any:
    """Run ``fn(*args)`` once in this worker and once in each of its pool processes.

    Returns:
        The results, this worker's first.
    """
    if is_inside_job():
        raise JobRefused("broadcast() was called inside a job: call the function directly")
    return await current_pool().broadcast(as_job(fn), args, deadline=deadline)


def last_timing() -> JobTimes | None:
    """Return the times of the last job of this request, if it has run one."""
    departure = current_departure.get()
    return departure.times[-1] if departure is not None and departure.times else None


def arena_alloc(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array that the process lane can pass on without a copy.

    In a block of the worker's arena if it is large enough, there is an arena, and this is the
    event loop's thread; an ordinary array otherwise. The caller fills it before it is submitted.
    """
    if asyncio._get_running_loop() is None:  # the arena's books are kept by the loop's thread alone
        import numpy as np

        return np.empty(shape, dtype)
    return current_pool().array(shape, dtype)


def set_current_pool(pool: Pool | None) -> None:
    """Install the pool of this worker."""
    global _current
    _current = pool


def installed_pool() -> Pool | None:
    """Return this worker's pool; None where there is no server."""
    return _current


def current_pool() -> Pool:
    """Return this worker's pool; an inline one where there is no server.

    Raises:
        RuntimeError: no pool is installed and no event loop runs.
    """
    if _current is not None:
        return _current
    global _inline
    loop = asyncio.get_running_loop()
    if _inline is None or _inline.loop is not loop:
        from hybrid.pool.pool import Pool

        _inline = Pool(CpuConfig(slots=0, deadline=0.0), loop=loop)
    return _inline
