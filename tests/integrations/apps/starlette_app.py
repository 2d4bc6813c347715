from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

import hybrid
from hybrid.integrations.starlette import NpyResponse, npy_array
from tests.integrations.apps import jobs


async def square(request: Any) -> Any:
    result = await hybrid.submit(jobs.square, int(request.query_params["n"]))
    return PlainTextResponse(str(result))


async def fail(request: Any) -> Any:
    await hybrid.submit(jobs.fail)


async def late(request: Any) -> Any:
    await hybrid.submit(jobs.square, 2, deadline=0.0)


async def hold(request: Any) -> Any:
    await hybrid.submit(jobs.hold, request.query_params["path"])


async def die(request: Any) -> Any:
    await hybrid.submit(jobs.die)


async def npy(request: Any) -> Any:
    return NpyResponse(await hybrid.submit(jobs.double, await npy_array(request)))


async def events(request: Any) -> Any:
    return StreamingResponse(jobs.events(), media_type="text/event-stream")


async def state(request: Any) -> Any:
    return PlainTextResponse(request.state.greeting)


async def background(request: Any) -> Any:
    task = BackgroundTask(jobs.finish_later, request.query_params["path"])
    return PlainTextResponse("accepted", background=task)


async def stream(request: Any) -> Any:
    async def pieces() -> Any:
        async for piece in request.stream():
            yield piece.upper()

    return StreamingResponse(pieces())


async def echo(websocket: Any) -> None:
    await websocket.accept()
    try:
        while True:
            text = await websocket.receive_text()
            if text == "late":
                await hybrid.submit(jobs.square, 2, deadline=0.0)
            await websocket.send_text(text.upper())
    except WebSocketDisconnect:
        pass


@asynccontextmanager
async def lifespan(app: Any) -> Any:
    yield {"greeting": "hello"}


GETS = (square, fail, late, hold, die, events, state, background)
app = Starlette(
    routes=[
        *(Route(f"/{each.__name__}", each) for each in GETS),
        Route("/npy", npy, methods=["POST"]),
        Route("/stream", stream, methods=["POST"]),
        WebSocketRoute("/echo", echo),
    ],
    lifespan=lifespan,
)
hybrid.install(app)
