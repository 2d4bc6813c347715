"""The smallest server that can be measured: what remains is the generator.

    python -m hybrid.bench.server.nullserver

Answers ``ok`` to anything at once. For tests of the method it can also misbehave
on request: ``?ms=20`` answers later without blocking, ``?block=50`` blocks the
loop (a stall), ``?stall=100`` blocks for that long on every 100th request,
``?status=503`` and ``?close=1`` do what they say. Says ``listening on
http://127.0.0.1:PORT`` on stderr, and ends on TERM, like the real server.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import cast
from urllib.parse import parse_qs, urlsplit

OK = b"HTTP/1.1 200 OK\r\nX-Worker: 0\r\nContent-Length: 2\r\n\r\nok"
STALL_EVERY = 100  # requests


class NullProtocol(asyncio.Protocol):
    """One connection; requests without a body, one after the other."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only

    def data_received(self, data: bytes) -> None:
        """Answer the request that `data` starts with."""
        target = data[: data.find(b" HTTP/1.")].split(b" ", 1)[1]
        if b"?" not in target:
            self.transport.write(OK)
        else:
            self._misbehave(parse_qs(urlsplit(target.decode("latin-1")).query))

    def _misbehave(self, query: dict[str, list[str]]) -> None:
        def number(name: str) -> int:
            return int(float(query.get(name, ["0"])[0]))

        NullProtocol.requests += 1
        block = number("block")
        if number("stall") and NullProtocol.requests % STALL_EVERY == 0:
            block = number("stall")
        if block:
            time.sleep(block / 1e3)
        body = OK
        if number("status"):
            body = body.replace(b"200 OK", b"%d Said" % number("status"))
        if number("close"):
            body = body.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        if number("ms"):
            asyncio.get_running_loop().call_later(number("ms") / 1e3, self._write, body)
        else:
            self._write(body)

    def _write(self, body: bytes) -> None:
        self.transport.write(body)
        if b"Connection: close" in body:
            self.transport.close()


async def serve(host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve until TERM or INT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(NullProtocol, host, port, backlog=1024)
    bound = server.sockets[0].getsockname()
    print(f"listening on http://{bound[0]}:{bound[1]}", file=sys.stderr, flush=True)
    await stop.wait()
    server.close()


def main() -> int:
    """Run the null server; on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
