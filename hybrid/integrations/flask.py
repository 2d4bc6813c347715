"""Flask: ``hybrid.install(app)``, `npy_response`, `npy_array`."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request

from hybrid.api.job_answers import answer_to, id_in_environ
from hybrid.errors import JobError
from hybrid.http.problem import PROBLEM_JSON
from hybrid.integrations.environs import TimedWsgi
from hybrid.integrations.npy_bodies import NPY, ArrayAnswer, UnusableArray, array_of


def install_in_flask(app: Flask) -> None:
    """Add error handlers for job errors and unusable arrays, and the timing of jobs."""
    app.register_error_handler(JobError, _answer_job_error)
    app.register_error_handler(UnusableArray, _answer_unusable)
    app.wsgi_app = TimedWsgi(app.wsgi_app)  # type: ignore[method-assign]


def npy_array() -> Any:
    """Return the array of the request's body, read-only.

    Raises:
        UnusableArray: the body is not an array of plain numbers (422).
    """
    return array_of(request.get_data(cache=False))


def npy_response(array: Any, status: int = 200) -> Response:
    """Return an array as ``application/x-npy``."""
    pieces = ArrayAnswer(array)
    headers = {"Content-Length": str(pieces.size)}
    return Response(pieces.pieces(as_views=False), status, headers, content_type=NPY)


def _answer_job_error(error: JobError) -> Any:
    request_id = id_in_environ(request.environ)
    answer = answer_to(error, request_id)
    return answer.body(request_id), answer.status, answer.headers()


def _answer_unusable(error: UnusableArray) -> Any:
    body = error.body(id_in_environ(request.environ))
    return body, error.status, {"Content-Type": PROBLEM_JSON}
