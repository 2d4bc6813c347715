"""Errors as ``application/problem+json`` (RFC 9457), with the request's id."""

from __future__ import annotations

import logging
from typing import Any

import falcon
import falcon.asgi

from hybrid.api.job_answers import JobAnswer, answer_to, id_in
from hybrid.errors import JobError
from hybrid.http.problem import PROBLEM_JSON, problem

logger = logging.getLogger("hybrid.error")


def request_id(req: falcon.Request) -> str:
    """Return the id of a request: from hybrid's server, from the client, or a new one.

    hybrid's server always sets it. Under another server it is kept in the request's state, so
    that the log and the answer have the same one.
    """
    sent = (req.get_header("X-Request-ID") or "").encode("latin-1", "replace")
    if hasattr(req, "scope"):
        return id_in(req.scope.setdefault("state", {}), "request_id", sent)
    return id_in(req.env, "hybrid.request_id", sent)  # WSGI


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
    answer = answer_to(ex, request_id(req))
    if resp is None:
        raise falcon.HTTPError(answer.status, title=answer.title)
    write_job_answer(req, resp, answer)


def write_job_answer(req: falcon.Request, resp: falcon.Response, answer: JobAnswer) -> None:
    """Make `resp` the answer to a request whose job has no result."""
    if answer.retry_after is not None:
        resp.set_header("Retry-After", answer.retry_after)
    write_problem(req, resp, answer.status, answer.title, answer.detail)


async def handle_uncaught(
    req: falcon.Request, resp: falcon.Response, ex: Exception, params: dict[str, Any], **_: Any
) -> None:
    """Falcon's error handler of last resort: the log has the traceback, the answer has not."""
    log_uncaught(req, ex)
    write_problem(req, resp, 500, "Internal Server Error", "the application raised an exception")


def log_uncaught(req: falcon.Request, ex: Exception) -> None:
    """Log an exception that the application has not caught, with its traceback."""
    logger.error("request %s raised", request_id(req), exc_info=ex)
