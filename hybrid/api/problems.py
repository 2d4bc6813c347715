"""Errors as ``application/problem+json`` (RFC 9457), with the request's id."""

from __future__ import annotations

import logging
import math
from typing import Any

import falcon
import falcon.asgi
import orjson

from hybrid.errors import (
    JobCancelled,
    JobError,
    JobOutOfMemory,
    JobTimeout,
    PoolClosed,
    QueueFull,
)

logger = logging.getLogger("hybrid.error")

_PROBLEM = "application/problem+json"
_STATUS: dict[type[JobError], tuple[int, str]] = {
    QueueFull: (503, "Pool is full"),
    PoolClosed: (503, "Worker is leaving"),
    JobTimeout: (504, "Job missed its deadline"),
    JobOutOfMemory: (507, "Job ran out of memory"),
    JobCancelled: (503, "Job was cancelled"),
}


def request_id(req: falcon.Request) -> str | None:
    """Return the id of a request: of hybrid's server, or the one that came with it."""
    state: dict[str, Any] = req.scope.get("state") or {}  # type: ignore[attr-defined]
    return state.get("request_id") or req.get_header("X-Request-ID")


def write_problem(
    req: falcon.Request, resp: falcon.Response, status: int, title: str, detail: str, **more: Any
) -> None:
    """Make `resp` a problem answer."""
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    problem["request_id"] = request_id(req)
    resp.status = status
    resp.content_type = _PROBLEM
    resp.data = orjson.dumps(problem)
    resp.text = resp.media = None


def serialize_http_error(
    req: falcon.Request, resp: falcon.Response, exception: falcon.HTTPError
) -> None:
    """Falcon's error serializer: every HTTPError becomes a problem."""
    title = exception.title or falcon.code_to_http_status(exception.status)
    write_problem(req, resp, exception.status_code, title, exception.description or title)


async def handle_job_error(
    req: falcon.Request, resp: falcon.Response, ex: JobError, params: dict[str, Any], **_: Any
) -> None:
    """Falcon's error handler for jobs that have no result."""
    status, title = _STATUS.get(type(ex), (500, "Job failed"))
    if isinstance(ex, QueueFull):
        resp.set_header("Retry-After", str(max(1, math.ceil(ex.retry_after))))
    elif isinstance(ex, PoolClosed):
        resp.set_header("Retry-After", "1")
    elif status == 500:
        logger.error("request %s: %s", request_id(req), ex)
    write_problem(req, resp, status, title, str(ex))


async def handle_uncaught(
    req: falcon.Request, resp: falcon.Response, ex: Exception, params: dict[str, Any], **_: Any
) -> None:
    """Falcon's error handler of last resort: logged with its traceback, told without."""
    logger.error("request %s raised", request_id(req), exc_info=ex)
    write_problem(req, resp, 500, "Internal Server Error", "the application raised an exception")
