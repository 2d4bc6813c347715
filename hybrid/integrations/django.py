"""Django: `JobMiddleware` for ``MIDDLEWARE``, `npy_response`, `npy_array`."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from hybrid.api.job_answers import answer_to, id_in_environ, id_in_scope
from hybrid.api.npy import array_to_bytes
from hybrid.core.departure import Departure, current_departure
from hybrid.errors import JobError
from hybrid.http.problem import PROBLEM_JSON
from hybrid.integrations.middleware import timing_line
from hybrid.integrations.npy_bodies import NPY, UnusableArray, array_of


class JobMiddleware:
    """``MIDDLEWARE = ["hybrid.integrations.django.JobMiddleware", …]``, for ASGI and WSGI.

    A job without a result becomes its HTTP status; answers of requests that ran jobs carry
    ``Server-Timing``.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on; a coroutine under ASGI."""
        if iscoroutinefunction(self):
            return self._answer_later(request)
        began, departure, token = perf_counter(), current_departure.get(), None
        if departure is None:  # under another server, whose thread serves others after this one
            departure = Departure()
            token = current_departure.set(departure)
        try:
            return _timed(self._get_response(request), departure, began)
        finally:
            if token is not None:
                current_departure.reset(token)

    async def _answer_later(self, request: HttpRequest) -> Any:
        began, departure = perf_counter(), current_departure.get()
        if departure is None:
            departure = Departure()
            current_departure.set(departure)
        return _timed(await self._get_response(request), departure, began)

    def process_exception(self, request: HttpRequest, exception: Exception) -> Any:
        """Return the answer to a job error or an unusable array; None: it is not ours."""
        if isinstance(exception, JobError):
            answer = answer_to(exception, _request_id(request))
            body = answer.body(_request_id(request))
            return HttpResponse(body, status=answer.status, headers=answer.headers())
        if isinstance(exception, UnusableArray):
            body = exception.body(_request_id(request))
            return HttpResponse(body, status=exception.status, content_type=PROBLEM_JSON)
        return None


def npy_array(request: HttpRequest) -> Any:
    """Return the array of the request's body, read-only.

    Raises:
        UnusableArray: the body is not an array of plain numbers (422).
    """
    return array_of(request.body)


def npy_response(array: Any, status: int = 200) -> HttpResponse:
    """Return an array as ``application/x-npy``; one copy, which Django needs."""
    body = array_to_bytes(array)
    headers = {"Content-Length": str(len(body))}
    return HttpResponse(body, status=status, content_type=NPY, headers=headers)


def _timed(response: Any, departure: Departure, began: float) -> Any:
    line = timing_line(departure, began)
    if line is not None:
        response["Server-Timing"] = line[1].decode()
    return response


def _request_id(request: Any) -> str:
    if hasattr(request, "scope"):
        return id_in_scope(request.scope)
    return id_in_environ(request.META)
