"""WebSockets of a Falcon application: installed manners change no close code."""

from __future__ import annotations

import asyncio
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest

import hybrid
from hybrid.errors import JobError, JobTimeout, PoolClosed, QueueFull


class Raises:
    """A resource with a WebSocket that raises, before it accepts or after it."""

    def __init__(self, ex: Exception, *, accept: bool) -> None:
        self.ex, self.accept = ex, accept

    async def on_websocket(self, req: Any, ws: Any) -> None:
        if self.accept:
            await ws.accept()
        raise self.ex


class Plain:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass


def closed_with(resource: Any, *, installed: bool) -> Any:
    """Return the last event that the application sends to a WebSocket of `resource`."""
    app: Any = falcon.asgi.App()
    app.ws_options.error_close_code = 1013
    if installed:
        hybrid.install(app)
    if resource is not None:
        app.add_route("/ws", resource)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = falcon.testing.create_scope_ws("/ws")
    asyncio.run(app(scope, receive, send))
    assert sent[-1]["type"] == "websocket.close"
    return sent[-1]


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize(
    "ex",
    [falcon.HTTPForbidden(), falcon.HTTPStatus(418), ValueError("a bug"), RuntimeError()],
    ids=lambda ex: type(ex).__name__,
)
def test_a_websocket_that_raises_is_closed_as_by_falcon_alone(ex: Exception, accept: bool) -> None:
    resource = Raises(ex, accept=accept)
    assert closed_with(resource, installed=True) == closed_with(resource, installed=False)


@pytest.mark.parametrize("resource", [None, Plain()], ids=["unknown path", "no WebSocket there"])
def test_a_websocket_without_a_responder_is_refused_as_by_falcon_alone(resource: Any) -> None:
    assert closed_with(resource, installed=True) == closed_with(resource, installed=False)


@pytest.mark.parametrize(
    ("ex", "code"),
    [
        (QueueFull(1, 1, 1.0), 3503),
        (PoolClosed("leaving"), 3503),
        (JobTimeout("f", 1.0, "running"), 3504),
        (JobError("broken"), 3500),
    ],
)
def test_a_job_without_a_result_closes_a_websocket_with_its_status(ex: Any, code: int) -> None:
    assert closed_with(Raises(ex, accept=True), installed=True)["code"] == code
