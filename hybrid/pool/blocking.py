"""`run`: a job from synchronous code, which waits for it.

    request thread --> call_soon_threadsafe --> submit() on the worker's loop
          | waits                                      |
          +<------------- result or exception ---------+

Without a worker (a script, a test, another server) the job runs in the calling
thread, one at a time.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from typing import Any, Literal

from hybrid.config import CpuConfig
from hybrid.core.departure import current_departure
from hybrid.core.jobs.ticket import Priority
from hybrid.errors import JobRefused, PoolClosed
from hybrid.pool.call import Progress
from hybrid.pool.job import Job, LaneName, as_job
from hybrid.pool.pool import Pool
from hybrid.pool.running import is_inside_job
from hybrid.pool.submit import installed_pool


def run(
    fn: Job | Callable[..., Any],
    /,
    *args: Any,
    deadline: float | None = None,
    lane: LaneName | None = None,
    priority: Literal["normal", "low"] = "normal",
    on_progress: Progress | None = None,
    **kwargs: Any,
) -> Any:
    """Run ``fn(*args, **kwargs)`` in this worker's pool and wait for its result.

    `hybrid.submit` for code that is not async: a WSGI application, a plain handler that a
    framework runs in a thread, a script, a test. Only the calling thread waits. It costs two trips
    between threads more than `submit`, some 40 µs.

    Args:
        fn: as for `hybrid.submit`, like every other argument.
        args: positional arguments; arrays arrive as read-only views.
        deadline: seconds for waiting and running together; None: the server's default.
        lane: overrides the lane that the job declares.
        priority: "low" waits until nothing of "normal" could run.
        on_progress: called with (fraction, note) on the event loop's thread of the worker: it
            must not block.
        kwargs: keyword arguments of `fn`.

    Raises:
        JobRefused: an event loop runs in this thread, which would stand still: await
            `hybrid.submit` there. Otherwise as for `hybrid.submit`.
        Exception: as for `hybrid.submit`.
    """
    if is_inside_job():
        raise JobRefused(
            "run() was called inside a job: two jobs that wait for each other's slot never end; "
            "call the function directly, or run it from the handler"
        )
    if asyncio._get_running_loop() is not None:
        raise JobRefused(
            "run() was called where an event loop runs, which would stand still: "
            "await hybrid.submit(…) there"
        )
    job = fn if isinstance(fn, Job) else as_job(fn)
    options: dict[str, Any] = {
        "deadline": deadline,
        "lane": lane,
        "priority": Priority.NORMAL if priority == "normal" else Priority(priority),
        "on_progress": on_progress,
    }
    pool = installed_pool()
    if pool is None:
        return _inline.run(job, args, kwargs, options)
    call = _in_pool(pool, job, args, kwargs, options)
    try:
        future = asyncio.run_coroutine_threadsafe(call, pool.loop)
    except RuntimeError:  # the loop is closed: the worker is past its end
        call.close()
        raise PoolClosed(f"job {job.name} was not started: this worker is leaving") from None
    return future.result()


async def _in_pool(
    pool: Pool, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> Any:
    """Run a job on the pool's loop, in the context of the thread that asked for it."""
    departure = current_departure.get()
    times = None if departure is None else departure.book()
    return await pool.run(job, args, kwargs, departure=departure, times=times, **options)


class _Inline:
    """Where there is no server: a loop and an inline pool of its own, made when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Pool | None = None

    def run(
        self, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> Any:
        """Run a job in this thread; others wait for their turn."""
        with self._lock:
            if self._loop is None or self._pool is None:
                self._loop = asyncio.new_event_loop()
                atexit.register(self._loop.close)
                self._pool = Pool(CpuConfig(slots=0, deadline=0.0), loop=self._loop)
            return self._loop.run_until_complete(_in_pool(self._pool, job, args, kwargs, options))


_inline = _Inline()
