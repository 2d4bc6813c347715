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
from hybrid.worker.interface import takes_arguments

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


class FunctionApplication:
    """An ASGI application that answers each request with the result of a function."""

    def __init__(self, function: Callable[[FunctionRequest], Any]) -> None:
        """Call `function`, plain or async, for each request.

        It returns str, bytes, or JSON values. A plain function blocks its worker's
        event loop while it runs.

        Raises:
            TypeError: it cannot be called with one argument.
        """
        if not takes_arguments(function, 1):
            raise TypeError(
                f"{function!r} is not a function of one request; "
                "an application is for cluster.serve"
            )
        self._function = function

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            raise NotImplementedError(f"a function does not serve {scope['type']}")
        result = self._function(await _read(scope, receive))
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
