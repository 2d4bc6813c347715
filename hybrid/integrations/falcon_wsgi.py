"""Falcon's WSGI applications: ``hybrid.install(app)``."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import falcon
import numpy as np

from hybrid.api.job_answers import answer_to
from hybrid.api.media import JsonHandler, NpyHandler
from hybrid.api.npy import NPY
from hybrid.api.problems import (
    log_uncaught,
    request_id,
    serialize_http_error,
    write_job_answer,
    write_problem,
)
from hybrid.core.departure import Departure, current_departure
from hybrid.errors import JobError
from hybrid.integrations.middleware import timing_line
from hybrid.integrations.npy_bodies import ArrayAnswer
from hybrid.system.memory.arena import LARGE
from hybrid.wsgi.environ import FileWrapper


def install_in_falcon(app: falcon.App[Any, Any]) -> None:
    """Add media handlers, error handlers and the timing of jobs."""
    handlers = {NPY: NpyHandler(), falcon.MEDIA_JSON: JsonHandler()}
    app.req_options.media_handlers.update(handlers)
    app.resp_options.media_handlers.update(handlers)
    app.set_error_serializer(serialize_http_error)
    app.add_error_handler(Exception, _answer_uncaught)  # falcon's own for HTTPError stays
    app.add_error_handler(JobError, _answer_job_error)
    app.add_middleware(_JobTimesAndArrays())


class _JobTimesAndArrays:
    """Falcon middleware: where the time of jobs went; large arrays from where they lie."""

    def process_request(self, req: Any, resp: Any) -> None:
        req.context.hybrid_began = perf_counter()
        if not _is_ours(req):  # another server's thread has served other requests before
            current_departure.set(Departure())

    def process_response(self, req: Any, resp: Any, resource: object, req_succeeded: bool) -> None:
        line = timing_line(current_departure.get(), req.context.hybrid_began)
        if line is not None:
            resp.set_header("Server-Timing", line[1].decode())
        array = resp.media
        if isinstance(array, np.ndarray) and resp.content_type == NPY and array.nbytes >= LARGE:
            answer = ArrayAnswer(array)
            resp.media = None
            resp.set_stream(answer.pieces(as_views=_is_ours(req)), answer.size)


def _is_ours(req: falcon.Request) -> bool:
    return req.env.get("wsgi.file_wrapper") is FileWrapper


def _answer_job_error(
    req: falcon.Request, resp: falcon.Response, ex: JobError, params: dict[str, Any]
) -> None:
    write_job_answer(req, resp, answer_to(ex, request_id(req)))


def _answer_uncaught(
    req: falcon.Request, resp: falcon.Response, ex: Exception, params: dict[str, Any]
) -> None:
    log_uncaught(req, ex)
    write_problem(req, resp, 500, "Internal Server Error", "the application raised an exception")
