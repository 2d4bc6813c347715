from __future__ import annotations

from typing import Any

from quart import Quart, Response, request, websocket

import hybrid
from hybrid.integrations.quart import npy_array, npy_response
from tests.integrations.apps import jobs

app = Quart(__name__)
hybrid.install(app)
app.config["RESPONSE_TIMEOUT"] = None
greetings: list[str] = []


@app.before_serving
async def start() -> None:
    greetings.append("hello")


@app.get("/square")
async def square() -> Any:
    return str(await hybrid.submit(jobs.square, int(request.args["n"])))


@app.get("/fail")
async def fail() -> Any:
    await hybrid.submit(jobs.fail)


@app.get("/late")
async def late() -> Any:
    await hybrid.submit(jobs.square, 2, deadline=0.0)


@app.get("/hold")
async def hold() -> Any:
    await hybrid.submit(jobs.hold, request.args["path"])


@app.get("/die")
async def die() -> Any:
    await hybrid.submit(jobs.die)


@app.post("/npy")
async def npy() -> Any:
    return npy_response(await hybrid.submit(jobs.double, await npy_array()))


@app.get("/events")
async def events() -> Any:
    return Response(jobs.events(), content_type="text/event-stream")


@app.get("/state")
async def state() -> Any:
    return greetings[0]


@app.get("/background")
async def background() -> Any:
    app.add_background_task(jobs.finish_later, request.args["path"])
    return "accepted"


@app.post("/stream")
async def stream() -> Any:
    body = request.body

    async def pieces() -> Any:
        async for piece in body:
            yield piece.upper()

    return Response(pieces(), content_type="text/plain")


@app.websocket("/echo")
async def echo() -> None:
    while True:
        text = await websocket.receive()
        if text == "late":
            await hybrid.submit(jobs.square, 2, deadline=0.0)
        await websocket.send(text.upper())
