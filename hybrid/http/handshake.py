"""The opening handshake of a WebSocket (RFC 6455 section 4.2)."""

from __future__ import annotations

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol

from hybrid.http.message import Header, Request
from hybrid.http.refusal import Refused

# What a client that was refused may try instead (RFC 6455 section 4.4, RFC 9110 section 15.5.22).
SPOKEN = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))


def accept_key(wire: ServerProtocol, request: Request) -> bytes:
    """Return the proof that the handshake was understood.

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
    return response.headers["Sec-WebSocket-Accept"].encode("latin-1")


def upgrade(key: bytes, subprotocol: str | None) -> list[Header]:
    """Return the headers of the 101 that is the server's side of it."""
    headers = [(b"upgrade", b"websocket"), (b"sec-websocket-accept", key)]
    if subprotocol:
        headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
    return headers
