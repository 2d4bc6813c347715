"""The opening handshake of a WebSocket (RFC 6455 section 4.2)."""

from __future__ import annotations

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol

from hybrid.http.message import Header, Request
from hybrid.http.refusal import Refused

# What a client that was refused may try instead (RFC 6455 section 4.4, RFC 9110 section 15.5.22).
SPOKEN = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))


def answer_handshake(wire: ServerProtocol, request: Request) -> list[Header]:
    """Return the headers that tell the client what is agreed on; `wire` keeps to it.

    Raises:
        Refused: it is no valid handshake; with the status and the reason for the client.
    """
    if request.content_length:
        raise Refused(400, "the handshake of a WebSocket has no body: frames follow it")
    if request.header(b"sec-websocket-version") not in (b"13", None):
        raise Refused(426, "the version of the WebSocket protocol here is 13")
    headers = Headers()
    for name, value in request.headers:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    response = wire.accept(Handshake("/", headers))
    if response.status_code != 101:
        detail = (response.body or b"").decode("utf-8", "replace").strip()
        raise Refused(response.status_code, detail)
    return [
        (name, response.headers[name.decode()].encode("latin-1"))
        for name in (b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions")
        if name.decode() in response.headers
    ]
