"""Quart: ``hybrid.install(app)``, `npy_response`, `npy_array`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, Response, has_websocket_context, request, websocket

from hybrid.api.job_answers import answer_to, id_in_scope
from hybrid.errors import JobError
from hybrid.http.problem import PROBLEM_JSON
from hybrid.integrations.middleware import Middleware
from hybrid.integrations.npy_bodies import NPY, ArrayAnswer, UnusableArray, read_array, takes_views


def install_in_quart(app: Quart) -> None:
    """Add error handlers for job errors and unusable arrays, and the middleware."""
    app.register_error_handler(JobError, _answer_job_error)
    app.register_error_handler(UnusableArray, _answer_unusable)
    app.asgi_app = Middleware(app.asgi_app)  # type: ignore[method-assign, assignment]


async def npy_array() -> Any:
    """Return the array of the request's body, read-only; a large one lies in the arena.

    Raises:
        UnusableArray: the body is not an array of plain numbers (422).
    """
    length = request.headers.get("content-length")
    return await read_array(aiter(request.body), length)


def npy_response(array: Any, status: int = 200) -> Response:
    """Return an array as ``application/x-npy``, written from where the array lies."""
    answer = ArrayAnswer(array)
    as_views = takes_views(request.scope)

    async def pieces() -> AsyncIterator[Any]:
        for piece in answer.pieces(as_views=as_views):
            yield piece

    headers = {"Content-Length": str(answer.size)}
    return Response(pieces(), status, headers, content_type=NPY)


async def _answer_job_error(error: JobError) -> Any:
    if has_websocket_context():
        answer = answer_to(error, id_in_scope(websocket.scope))  # type: ignore[arg-type]
        await websocket.close(3000 + answer.status)
        return None
    request_id = id_in_scope(request.scope)  # type: ignore[arg-type]
    answer = answer_to(error, request_id)
    return answer.body(request_id), answer.status, answer.headers()


async def _answer_unusable(error: UnusableArray) -> Any:
    body = error.body(id_in_scope(request.scope))  # type: ignore[arg-type]
    return body, error.status, {"Content-Type": PROBLEM_JSON}
