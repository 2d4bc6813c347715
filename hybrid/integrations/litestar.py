"""Litestar: ``hybrid.install(app)``, `NpyResponse`, `npy_array`."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from litestar import Litestar, Request, Response
from litestar.response.base import ASGIResponse

from hybrid.api.job_answers import answer_to, id_in_scope
from hybrid.core.departure import current_departure
from hybrid.errors import JobError
from hybrid.http.problem import PROBLEM_JSON
from hybrid.integrations.middleware import departure_here, timing_line
from hybrid.integrations.npy_bodies import NPY, ArrayAnswer, UnusableArray, read_array

_BEGAN = "hybrid.began"  # in the scope: when the request did


def install_in_litestar(app: Litestar) -> None:
    """Add exception handlers for job errors and unusable arrays, and a hook for the answer's head.

    The application must have been made: handlers added to a plugin's configuration would be
    those of every application that it makes.
    """
    app.exception_handlers[JobError] = _answer_job_error
    app.exception_handlers[UnusableArray] = _answer_unusable
    app.before_send.append(_add_timing)
    app.asgi_handler = _Beginning(app.asgi_handler)


class _Beginning:
    """Notes when a request begins; no hook of Litestar's comes before the handlers' own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope[_BEGAN] = perf_counter()
        departure_here()
        await self._app(scope, receive, send)


async def npy_array(request: Request[Any, Any, Any]) -> Any:
    """Return the array of the request's body, read-only; a large one lies in the arena.

    A dependency: ``dependencies={"signal": Provide(npy_array)}``; or ``await npy_array(request)``.

    Raises:
        UnusableArray: the body is not an array of plain numbers (422).
    """
    return await read_array(request.stream(), request.headers.get("content-length"))


class NpyResponse(Response[Any]):
    """An array as ``application/x-npy``, written from where the array lies."""

    def to_asgi_response(self, app: Any, request: Any, **options: Any) -> ASGIResponse:
        """Return what sends it."""
        array = ArrayAnswer(self.content)
        options.pop("type_encoders", None)
        options["headers"] = {**(options.get("headers") or {}), **self.headers}
        options["status_code"] = self.status_code or options.get("status_code")
        options["background"] = self.background or options.get("background")
        options["cookies"] = [*self.cookies, *(options.get("cookies") or ())]
        return _ArrayResponse(array, request.scope, **{**options, "media_type": NPY})


class _ArrayResponse(ASGIResponse):
    def __init__(self, array: ArrayAnswer, scope: Any, **options: Any) -> None:
        super().__init__(content_length=array.size, **options)
        self._array, self._scope = array, scope

    async def send_body(self, send: Any, receive: Any) -> None:
        await self._array.send(send, self._scope)


async def _add_timing(message: Any, scope: Any) -> None:
    if message["type"] == "http.response.start":
        line = timing_line(current_departure.get(), scope[_BEGAN])
        if line is not None:
            message["headers"] = [*message["headers"], line]


def _answer_job_error(request: Request[Any, Any, Any], error: JobError) -> Response[bytes]:
    request_id = id_in_scope(request.scope)  # type: ignore[arg-type]
    answer = answer_to(error, request_id)
    headers = answer.headers()
    return Response(
        answer.body(request_id),
        status_code=answer.status,
        media_type=headers.pop("Content-Type"),
        headers=headers,
    )


def _answer_unusable(request: Request[Any, Any, Any], error: UnusableArray) -> Response[bytes]:
    body = error.body(id_in_scope(request.scope))  # type: ignore[arg-type]
    return Response(body, status_code=error.status, media_type=PROBLEM_JSON)
