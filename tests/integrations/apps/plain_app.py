"""Pure ASGI, with `hybrid.Middleware`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import hybrid
from hybrid.integrations.npy_bodies import NPY, ArrayAnswer, read_array
from tests.integrations.apps import jobs


async def pieces_of(receive: Any) -> Any:
    while True:
        message = await receive()
        yield message["body"]
        if not message["more_body"]:
            return


async def say(send: Any, body: bytes, kind: bytes = b"text/plain") -> None:
    await begin(send, kind)
    await send({"type": "http.response.body", "body": body})


async def begin(send: Any, kind: bytes = b"text/plain", size: int | None = None) -> None:
    headers = [(b"content-type", kind)]
    if size is not None:
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def square(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await say(send, str(await hybrid.submit(jobs.square, int(query["n"]))).encode())


async def fail(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await hybrid.submit(jobs.fail)


async def late(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await hybrid.submit(jobs.square, 2, deadline=0.0)


async def hold(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await hybrid.submit(jobs.hold, query["path"])


async def die(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await hybrid.submit(jobs.die)


async def npy(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    length = dict(scope["headers"]).get(b"content-length", b"").decode()
    array = await read_array(pieces_of(receive), length)
    answer = ArrayAnswer(await hybrid.submit(jobs.double, array))
    await begin(send, NPY.encode(), answer.size)
    await answer.send(send, scope)


async def events(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await begin(send, b"text/event-stream")
    async for event in jobs.events():
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body"})


async def state(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await say(send, scope["state"]["greeting"].encode())


async def background(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await say(send, b"accepted")
    await jobs.finish_later(query["path"])


async def stream(scope: Any, receive: Any, send: Any, query: dict[str, str]) -> None:
    await begin(send)
    async for piece in pieces_of(receive):
        await send({"type": "http.response.body", "body": piece.upper(), "more_body": True})
    await send({"type": "http.response.body"})


PLACES = {
    f"/{each.__name__}": each
    for each in (square, fail, late, hold, die, npy, events, state, background, stream)
}


async def http(scope: Any, receive: Any, send: Any) -> None:
    query = {key: value[0] for key, value in parse_qs(scope["query_string"].decode()).items()}
    await PLACES[scope["path"]](scope, receive, send, query)


async def websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "late":
            await hybrid.submit(jobs.square, 2, deadline=0.0)
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await receive()
        scope["state"]["greeting"] = "hello"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


app = hybrid.Middleware(application)
