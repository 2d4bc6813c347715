"""Starlette and FastAPI: ``hybrid.install(app)``, `NpyResponse`, `npy_array`."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from hybrid.api.job_answers import answer_to, id_in_scope
from hybrid.errors import JobError
from hybrid.http.problem import PROBLEM_JSON
from hybrid.integrations.middleware import Middleware
from hybrid.integrations.npy_bodies import NPY, ArrayAnswer, UnusableArray, read_array


def install_in_starlette(app: Starlette) -> None:
    """Add exception handlers for job errors and unusable arrays, and the middleware."""
    app.add_exception_handler(JobError, _answer_job_error)  # type: ignore[arg-type]
    app.add_exception_handler(UnusableArray, _answer_unusable)  # type: ignore[arg-type]
    app.add_middleware(Middleware)


async def npy_array(request: Request) -> Any:
    """Return the array of the request's body, read-only; a large one lies in the arena.

    A dependency of FastAPI: ``signal: Annotated[Any, Depends(npy_array)]``. Under Starlette:
    ``await npy_array(request)``.

    Raises:
        UnusableArray: the body is not an array of plain numbers (422).
    """
    return await read_array(request.stream(), request.headers.get("content-length"))


class NpyResponse(Response):
    """An array as ``application/x-npy``, written from where the array lies."""

    media_type = NPY

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: dict[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self._array = ArrayAnswer(content)
        lines = {**(headers or {}), "content-length": str(self._array.size)}
        super().__init__(None, status_code, lines, NPY, background)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the answer."""
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        await self._array.send(send, scope)
        if self.background is not None:
            await self.background()


async def _answer_job_error(connection: HTTPConnection, error: JobError) -> Response | None:
    request_id = id_in_scope(connection.scope)
    answer = answer_to(error, request_id)
    if isinstance(connection, WebSocket):
        if connection.application_state is not WebSocketState.DISCONNECTED:
            await connection.close(3000 + answer.status)
        return None
    return Response(answer.body(request_id), answer.status, answer.headers())


async def _answer_unusable(request: Request, error: UnusableArray) -> Response:
    body = error.body(id_in_scope(request.scope))
    return Response(body, error.status, media_type=PROBLEM_JSON)
