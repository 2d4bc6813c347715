"""A function as an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hybrid.http.request.refusal import ClientGone
from hybrid.worker.function import FunctionApplication, FunctionRequest
from hybrid.worker.interface import check_application


def ask(function: Callable[..., Any], *pieces: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the head and the body that a POST gets."""
    coming = [
        {"type": "http.request", "body": piece, "more_body": n + 1 < len(pieces)}
        for n, piece in enumerate(pieces or (b"",))
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/grüße",
        "query_string": b"a=1",
        "headers": [(b"x-name", b"value")],
    }
    asyncio.run(FunctionApplication(function)(scope, receive, send))
    head, body = sent
    return head, body["body"]


async def later(request: FunctionRequest) -> str:
    return "later"


@pytest.mark.parametrize(
    ("function", "kind", "body"),
    [
        (lambda request: "Grüße", b"text/plain; charset=utf-8", "Grüße".encode()),
        (lambda request: b"\x00", b"application/octet-stream", b"\x00"),
        (lambda request: {"a": [1, None]}, b"application/json", b'{"a":[1,null]}'),
        (later, b"text/plain; charset=utf-8", b"later"),
        (lambda request, greeting="hi": greeting, b"text/plain; charset=utf-8", b"hi"),
    ],
)
def test_what_a_function_returns_is_the_answer(
    function: Callable[..., Any], kind: bytes, body: bytes
) -> None:
    head, answer = ask(function)
    assert answer == body
    assert dict(head["headers"]) == {
        b"content-type": kind,
        b"content-length": str(len(body)).encode(),
    }


def test_a_function_gets_the_whole_request() -> None:
    seen: list[FunctionRequest] = []
    ask(lambda request: seen.append(request) or "", b"ab", b"c")
    assert seen == [FunctionRequest("POST", "/grüße", "a=1", {"x-name": "value"}, b"abc")]


def test_a_body_is_not_copied_anew_for_every_piece() -> None:
    class Piece(bytes):
        def __radd__(self, before: bytes) -> bytes:
            pytest.fail("all that came before is copied once more")

    assert ask(lambda request: request.body, Piece(b"ab"), Piece(b"cd"))[1] == b"abcd"


def test_an_asgi_application_can_be_served() -> None:
    class Application:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    async def wrapper(*args: Any) -> None: ...

    for application in (wrapper, app, Application(), print):
        check_application(application)


class Uncalled:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize("other", [later, lambda: "", Uncalled, 5, "module:attribute"])
def test_what_is_neither_asgi_nor_wsgi_is_refused(other: object) -> None:
    with pytest.raises(TypeError, match=r"is not an application.*serve_function"):
        check_application(other)


def test_a_function_speaks_http_only() -> None:
    app = FunctionApplication(lambda request: "x")
    with pytest.raises(NotImplementedError, match="websocket"):
        asyncio.run(app({"type": "websocket"}, None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [lambda: "", lambda scope, receive, send: None, 5])
def test_what_cannot_take_one_request_is_refused(other: Any) -> None:
    with pytest.raises(TypeError, match=r"not a function of one request.*cluster\.serve"):
        FunctionApplication(other)


def test_a_cut_upload_never_reaches_the_function() -> None:
    called: list[FunctionRequest] = []
    app = FunctionApplication(lambda request: called.append(request))
    messages = iter(
        [
            {"type": "http.request", "body": b"a part", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        raise AssertionError(f"nothing can be answered: {message}")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-length", b"1000")],
    }
    with pytest.raises(ClientGone):
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert called == []
