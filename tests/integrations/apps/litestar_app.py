from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, MediaType, Request, Response, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import WebSocketDisconnect
from litestar.response import Stream

import hybrid
from hybrid.integrations.litestar import NpyResponse, npy_array
from tests.integrations.apps import jobs


@get("/square", media_type=MediaType.TEXT)
async def square(n: int) -> str:
    return str(await hybrid.submit(jobs.square, n))


@get("/fail")
async def fail() -> None:
    await hybrid.submit(jobs.fail)


@get("/late")
async def late() -> None:
    await hybrid.submit(jobs.square, 2, deadline=0.0)


@get("/hold")
async def hold(path: str) -> None:
    await hybrid.submit(jobs.hold, path)


@get("/die")
async def die() -> None:
    await hybrid.submit(jobs.die)


@post("/npy", status_code=200)
async def npy(request: Request) -> NpyResponse:
    return NpyResponse(await hybrid.submit(jobs.double, await npy_array(request)))


@get("/events")
async def events() -> Stream:
    return Stream(jobs.events(), media_type="text/event-stream")


@get("/state", media_type=MediaType.TEXT)
async def state(request: Request) -> str:
    return str(request.app.state.greeting)


@get("/background", media_type=MediaType.TEXT)
async def background(path: str) -> Response[str]:
    return Response("accepted", background=BackgroundTask(jobs.finish_later, path))


@post("/stream", status_code=200)
async def stream(request: Request) -> Stream:
    pieces = [piece.upper() async for piece in request.stream()]
    return Stream(iter(pieces), media_type="text/plain")


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            if text == "late":
                await hybrid.submit(jobs.square, 2, deadline=0.0)
            await socket.send_text(text.upper())
    except WebSocketDisconnect:
        pass


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    app.state.greeting = "hello"
    yield


HANDLERS: list[Any] = [square, fail, late, hold, die, npy, events, state, background, stream, echo]
app = Litestar(HANDLERS, lifespan=[lifespan], openapi_config=None)
hybrid.install(app)
