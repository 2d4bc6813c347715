"""A function as an application: the smallest thing that can answer a request.

    def hello(request):
        return f"{request.method} {request.path}"

For status codes, headers or streams write an ASGI application; any framework's
will do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from hybrid.http.request.refusal import ClientGone
from hybrid.http.shared import ASGIApp

_TEXT, _BYTES, _JSON = (
    b"text/plain; charset=utf-8",
    b"application/octet-stream",
    b"application/json",
)


@dataclass(frozen=True, slots=True)
class FunctionRequest:
    """What the client sent."""

    method: str
    path: str
    query: str  # after the question mark
    headers: dict[str, str]  # names in lower case
    body: bytes


def as_application(app: Callable[..., Any]) -> ASGIApp:
    """Return `app` if it is an application, else one that answers with its result.

    Args:
        app: takes scope, receive and send; or environ and start_response (WSGI); or one
            `FunctionRequest` (or nothing), plain or async, and returns str, bytes, or JSON
            values. A plain function blocks its worker's event loop while it runs.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(app):
        raise TypeError(f"{app!r} is neither an application nor a function")
    try:
        parameters = inspect.signature(app).parameters.values()
    except ValueError:
        return app  # written in C, which a handler of requests hardly is
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return app  # a wrapper around an application
    if sum(each.default is each.empty for each in parameters) > 1:
        return app
    return _Function(app, min(1, len(parameters)))


class _Function:
    def __init__(self, function: Callable[..., Any], wanted: int) -> None:
        self._function, self._wanted = function, wanted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"a function does not speak {scope['type']}")
        result = self._function(*[await _read(scope, receive)][: self._wanted])
        if inspect.isawaitable(result):
            result = await result
        kind, body = _encode(result)
        head = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


async def _read(scope: Any, receive: Any) -> FunctionRequest:
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":  # a part of an upload is not the upload
            raise ClientGone("the client left before its request was complete")
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return FunctionRequest(scope["method"], scope["path"], query, headers, b"".join(pieces))


def _encode(result: Any) -> tuple[bytes, bytes]:
    if isinstance(result, str):
        return _TEXT, result.encode()
    if isinstance(result, bytes):
        return _BYTES, result
    return _JSON, orjson.dumps(result)
