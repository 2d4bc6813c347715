"""Errors as ``application/problem+json`` (RFC 9457), with the request's id."""

from __future__ import annotations

import logging
import math
import uuid
from typing import Any

import falcon
import falcon.asgi

from hybrid.errors import (
    DeadlineTooShort,
    JobCancelled,
    JobError,
    JobOutOfMemory,
    JobTimeout,
    PoolClosed,
    QueueFull,
)
from hybrid.http.problem import PROBLEM_JSON, problem, usable_id

logger = logging.getLogger("hybrid.error")

_STATUS: dict[type[JobError], tuple[int, str]] = {
    QueueFull: (503, "Pool is full"),
    DeadlineTooShort: (503, "Pool is full"),
    PoolClosed: (503, "Worker is leaving"),
    JobTimeout: (504, "Job missed its deadline"),
    JobOutOfMemory: (507, "Job ran out of memory"),
    JobCancelled: (503, "Job was cancelled"),
}


def request_id(req: falcon.Request) -> str:
    """Return the id of a request: from hybrid's server, from the client, or a new one.

    hybrid's server always sets it. Under another server it is kept in the request's state, so
    that the log and the answer have the same one.
    """
    state: dict[str, Any] = req.scope.setdefault("state", {})  # type: ignore[attr-defined]
    if "request_id" not in state:
        sent = (req.get_header("X-Request-ID") or "").encode("latin-1", "replace")
        state["request_id"] = usable_id(sent) or uuid.uuid4().hex
    return str(state["request_id"])


def write_problem(
    req: falcon.Request, resp: falcon.Response, status: int, title: str, detail: str
) -> None:
    """Make `resp` a problem answer."""
    resp.status = status
    resp.content_type = PROBLEM_JSON
    resp.data = problem(status, title, detail, request_id(req))
    resp.text = resp.media = None


def serialize_http_error(
    req: falcon.Request, resp: falcon.Response, exception: falcon.HTTPError
) -> None:
    """Falcon's error serializer: every HTTPError becomes a problem."""
    line = falcon.code_to_http_status(exception.status)  # "404 Not Found"
    title = line.partition(" ")[2] if exception.title in (None, line) else exception.title
    detail = exception.description or _explain(req, exception) or title
    write_problem(req, resp, exception.status_code, title, detail)


def _explain(req: falcon.Request, exception: falcon.HTTPError) -> str | None:
    """Return a detail for the errors to which Falcon gives a number only."""
    if exception.status_code == 404:
        return f"there is nothing at {req.path[:100]}"
    if exception.status_code == 405:
        allowed = dict(exception.headers or ()).get("Allow", "another method")
        return f"{req.method} is not allowed here; use {allowed}"
    return None


async def handle_job_error(
    req: falcon.Request,
    resp: falcon.Response | None,
    ex: JobError,
    params: dict[str, Any],
    **_: Any,
) -> None:
    """Falcon's error handler for jobs that have no result.

    Raises:
        falcon.HTTPError: for a WebSocket, so that Falcon closes it with the status' code.
    """
    status, title = _STATUS.get(type(ex), (500, "Job failed"))
    if status == 500:
        logger.error("request %s: %s", request_id(req), ex)
    if resp is None:
        raise falcon.HTTPError(status, title=title)
    if isinstance(ex, QueueFull):
        resp.set_header("Retry-After", str(max(1, math.ceil(ex.retry_after))))
    elif isinstance(ex, PoolClosed):
        resp.set_header("Retry-After", "1")
    write_problem(req, resp, status, title, str(ex))


async def handle_uncaught(
    req: falcon.Request, resp: falcon.Response, ex: Exception, params: dict[str, Any], **_: Any
) -> None:
    """Falcon's error handler of last resort: the log has the traceback, the answer has not."""
    log_uncaught(req, ex)
    write_problem(req, resp, 500, "Internal Server Error", "the application raised an exception")


def log_uncaught(req: falcon.Request, ex: Exception) -> None:
    """Log an exception that the application has not caught, with its traceback."""
    logger.error("request %s raised", request_id(req), exc_info=ex)
