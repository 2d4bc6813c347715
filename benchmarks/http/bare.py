"""The floor: what a protocol on httptools costs that has no limit, no id, no date, no drain.

It is no server. It shows how much of a request's price is the parser, the
socket, the task and Falcon, and so what is left to save.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import uvloop

from benchmarks.http import app as application

app: Any = application.app
_ASGI = {"version": "3.0", "spec_version": "2.4"}


class Bare(asyncio.Protocol):
    """One connection; one request after the other, no body, no pipelining."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        self.client = transport.get_extra_info("peername")

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1",
            "method": self.parser.get_method().decode(),
            "scheme": "http",
            "path": self.url.decode(),
            "raw_path": self.url,
            "query_string": b"",
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": ("127.0.0.1", 80),
        }
        run = app(scope, self.receive, self.send)
        if sys.version_info >= (3, 12):
            asyncio.Task(run, loop=self.loop, eager_start=True)
        else:
            self.loop.create_task(run)

    async def receive(self) -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.head = b"HTTP/1.1 200 OK\r\n" + b"".join(
                [name + b": " + value + b"\r\n" for name, value in message["headers"]]
            )
        else:
            self.transport.write(self.head + b"\r\n" + message["body"])


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
