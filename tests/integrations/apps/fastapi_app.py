from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.routing import WebSocketRoute

import hybrid
from hybrid.integrations.starlette import NpyResponse, npy_array
from tests.integrations.apps import jobs
from tests.integrations.apps.starlette_app import echo, lifespan
from tests.integrations.apps.starlette_app import stream as stream_both_ways

app = FastAPI(lifespan=lifespan)
hybrid.install(app)
app.router.routes.append(WebSocketRoute("/echo", echo))
app.add_route("/stream", stream_both_ways, methods=["POST"])


@app.get("/square")
async def square(n: int) -> Any:
    return PlainTextResponse(str(await hybrid.submit(jobs.square, n)))


@app.get("/fail")
async def fail() -> Any:
    await hybrid.submit(jobs.fail)


@app.get("/late")
def late() -> Any:
    """A plain function: FastAPI runs it in a thread."""
    hybrid.run(jobs.square, 2, deadline=0.0)


@app.get("/hold")
async def hold(path: str) -> Any:
    await hybrid.submit(jobs.hold, path)


@app.get("/die")
async def die() -> Any:
    await hybrid.submit(jobs.die)


@app.post("/npy")
async def npy(array: Annotated[Any, Depends(npy_array)]) -> NpyResponse:
    return NpyResponse(await hybrid.submit(jobs.double, array))


@app.get("/events")
async def events() -> Any:
    return StreamingResponse(jobs.events(), media_type="text/event-stream")


@app.get("/state")
async def state(request: Request) -> Any:
    return PlainTextResponse(request.state.greeting)


@app.get("/background")
async def background(path: str, tasks: BackgroundTasks) -> Any:
    tasks.add_task(jobs.finish_later, path)
    return PlainTextResponse("accepted", background=tasks)
