"""A server in this process, raw sockets in front of it, and h11 as judge of what it says."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import h11
import pytest

from hybrid.config import HttpConfig, LogConfig
from hybrid.http.loops import new_event_loop
from hybrid.http.server import HttpServer
from hybrid.http.shared import Shared

PATIENCE = 10.0  # s; a test that waits longer has failed
HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    reason: str = ""
    all_headers: list[tuple[str, str]] = field(default_factory=list)


def judge(data: bytes, *methods: str, http_version: str = "1.1") -> list[Answer]:
    """Return the answers in `data`, as an independent parser sees them.

    `data` must be exactly the answers to `methods`, in order, and nothing else.
    """
    client = h11.Connection(h11.CLIENT)
    client.receive_data(data)
    client.receive_data(b"")
    answers: list[Answer] = []
    for number, method in enumerate(methods):
        if number:
            client.start_next_cycle()
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        answers.append(_next_answer(client))
        if client.our_state is h11.MUST_CLOSE or client.their_state is not h11.DONE:
            break
    rest = client.trailing_data[0]
    assert not rest, f"behind the last answer: {rest[:200]!r}"
    missing = len(methods) - len(answers)
    assert not missing, f"{len(answers)} answers to {len(methods)} requests"
    return answers


def _next_answer(client: h11.Connection) -> Answer:
    head: h11.Response | None = None
    body = b""
    while True:
        event = client.next_event()
        if isinstance(event, h11.InformationalResponse):
            continue
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            pytest.fail(f"h11 met {event!r}")
    assert head is not None
    pairs = [(n.decode(), v.decode("latin-1")) for n, v in head.headers]
    return Answer(head.status_code, dict(pairs), body, head.reason.decode(), pairs)


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read_all(self) -> bytes:
        """Everything until the server closes."""
        return await within(self.reader.read())

    async def read_head(self) -> bytes:
        return await within(self.reader.readuntil(b"\r\n\r\n"))

    async def read_answer(self, method: str = "GET") -> Answer:
        """One answer with Content-Length, chunks or no body; the connection stays."""
        head = await self.read_head()
        lower = head.lower()
        body = b""
        status = int(head[9:12])
        if method != "HEAD" and status not in (101, 204, 304):
            if b"content-length: " in lower:
                length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await within(self.reader.readexactly(length))
            elif b"transfer-encoding: chunked" in lower:
                while not body.endswith(b"0\r\n\r\n"):
                    body += await within(self.reader.readuntil(b"\r\n"))
        if status == 101:
            return Answer(101, {}, b"")
        return judge(head + body, method)[0]

    async def get(self, path: str = "/hello") -> Answer:
        self.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return await self.read_answer()

    async def is_closed(self) -> bool:
        """Wait for the server's end of stream; a reset counts."""
        try:
            return await within(self.reader.read(1)) == b""
        except ConnectionError:
            return True

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Running:
    """A server that accepts on a port of its own."""

    server: HttpServer
    listener: socket.socket
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def shared(self) -> Shared:
        """What the server's parts share; the only place where these tests reach inside."""
        return self.server._shared

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self, limit: int = 2**20, receive_buffer: int = 0) -> Client:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def talk(self, data: bytes) -> bytes:
        """Send `data` and our end of stream; return everything until the server's.

        So this client needs ``--half-close``.
        """
        shared = self.shared
        shared.settings = replace(shared.settings, half_close=True)
        client = await self.connect()
        client.send(data)
        client.half_close()
        return await client.read_all()

    async def until_applications_end(self) -> None:
        await self.until(lambda: not self.shared.running, "an application has not returned")

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, what or "condition"
            await asyncio.sleep(0.002)


async def within(awaitable: Awaitable[Any], seconds: float = PATIENCE) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


@asynccontextmanager
async def serving(
    app: App, settings: HttpConfig | None = None, **options: Any
) -> AsyncIterator[Running]:
    """Serve `app`; afterwards nothing of it may be left."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    options.setdefault("log", LogConfig(access=False))
    options.setdefault("state", {})
    server = HttpServer(app, settings or HttpConfig(), **options)
    server.start_accepting([listener])
    running = Running(server, listener)
    try:
        yield running
    finally:
        for client in running.clients:
            client.writer.transport.abort()
        await server.drain(1.0)
        listener.close()
    assert server.statistics().connections == 0
    assert server.statistics().requests_active == 0


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Any:
    """Run a coroutine on each kind of loop; no task may outlive it."""

    def run_on(main: Coroutine[Any, Any, Any], seconds: float = 60) -> Any:
        loop = new_event_loop(request.param)
        try:
            result = loop.run_until_complete(asyncio.wait_for(main, seconds))
            loop.run_until_complete(asyncio.sleep(0))
            left = asyncio.all_tasks(loop)
            assert not left, left
            return result
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            gc.collect()

    return run_on


class Routes:
    """An ASGI application made of functions, one per path."""

    def __init__(self, **routes: App) -> None:
        self.routes = {f"/{name}": route for name, route in routes.items()}
        self.routes.setdefault("/hello", hello)
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await self.routes.get(scope["path"], hello)(scope, receive, send)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"hello")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await read_body(receive)
    await answer(send, body)


async def answer(
    send: Any, body: bytes = b"", status: int = 200, headers: tuple[Any, ...] = ()
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            return body
