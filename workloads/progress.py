"""``GET /cpu/{kernel}?stream=1``: how far a job is, as server-sent events.

    event: progress   data: {"fraction": 0.25, "note": ""}      any number of them
    event: result     data: what the plain request would have answered
    event: problem    data: {"title", "detail"}                  instead of the result

What is refused before it has a place in line is an ordinary 4xx or 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import falcon
from falcon.asgi import SSEvent

import hybrid

_PING = 10.0  # s without news; then a comment keeps proxies from closing the connection

Report = Callable[[float, str], None]
Answer = dict[str, Any]


async def events(run: Callable[[Report], Awaitable[Answer]]) -> AsyncIterator[SSEvent]:
    """Start a job; return its events.

    Args:
        run: is given the function to report to, and answers.

    Raises:
        hybrid.JobError: the pool refused the job.
        falcon.HTTPError: the query was wrong.
    """
    news: asyncio.Queue[SSEvent] = asyncio.Queue()

    def report(fraction: float, note: str) -> None:
        progress = {"fraction": round(fraction, 4), "note": note}
        news.put_nowait(SSEvent(event="progress", json=progress))

    async def work() -> Answer:
        return await run(report)

    job = asyncio.create_task(work())
    await asyncio.sleep(0)  # one turn of the loop: by then it is in line, or refused
    if job.done():
        job.result()
    return _until_done(job, news)


async def _until_done(
    job: asyncio.Task[Answer], news: asyncio.Queue[SSEvent]
) -> AsyncIterator[SSEvent]:
    job.add_done_callback(lambda done: news.put_nowait(_last_event(done)))
    try:
        while True:
            try:
                event = await asyncio.wait_for(news.get(), _PING)
            except TimeoutError:
                event = SSEvent(comment="still there")
            yield event
            if event.event in ("result", "problem"):
                return
    finally:
        job.cancel()  # the client is gone; when the job is over this changes nothing


def _last_event(job: asyncio.Task[Answer]) -> SSEvent:
    error = None if job.cancelled() else job.exception()
    if job.cancelled():
        problem = {"title": "Cancelled", "detail": "the job was withdrawn"}
    elif isinstance(error, falcon.HTTPError):
        problem = {"title": str(error.title), "detail": str(error.description)}
    elif isinstance(error, hybrid.JobError):
        problem = {"title": type(error).__name__, "detail": str(error)}
    elif error is not None:
        problem = {"title": "Internal Server Error", "detail": "the job raised an exception"}
    else:
        return SSEvent(event="result", json=job.result())
    return SSEvent(event="problem", json=problem)
