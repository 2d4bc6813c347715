"""WebSocket by hand: the handshake and the frames as bytes, and an application that echoes."""

from __future__ import annotations

from typing import Any

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Echo:
    """Accepts, sends back what it gets, and remembers the events."""

    def __init__(self, subprotocol: str | None = None) -> None:
        self.events: list[Any] = []
        self.scope: Any = None
        self.subprotocol = subprotocol

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        assert await receive() == {"type": "websocket.connect"}
        accept = {"type": "websocket.accept", "headers": [(b"x-a", b"b")]}
        await send({**accept, "subprotocol": self.subprotocol})
        while True:
            message = await receive()
            self.events.append(message)
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text == "close":
                await send({"type": "websocket.close", "code": 4001, "reason": "asked"})
            elif text == "raise":
                raise ValueError
            elif text is not None:
                await send({"type": "websocket.send", "text": text})
            else:
                await send({"type": "websocket.send", "bytes": message["bytes"]})


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A masked client frame; the mask is zero."""
    size = len(payload)
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload
