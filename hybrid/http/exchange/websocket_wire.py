"""The frames of one WebSocket: the library's sans-I/O protocol, with bounded memory and time."""

from __future__ import annotations

from functools import cache

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import BytesLike

from hybrid.config import HttpConfig
from hybrid.http.exchange.websocket_inbox import WebSocketInbox

# What is worth compressing, in bytes. Shorter messages gain nothing. A longer one would stop the
# event loop, and with it every other connection of this worker, for more than some 10 ms.
_LEAST = 64
_LEAST_WITHOUT_CONTEXT = 512
_MOST = 256 * 1024


@cache
def _compression(context_takeover: bool) -> ServerPerMessageDeflateFactory:
    """Return the library's permessage-deflate, with a small window and a quick compressor.

    zlib's defaults keep some 300 KB per connection for as long as it is open, so
    a few thousand idle clients would fill the memory. With these a connection keeps
    39 KB to compress and 11 KB to inflate (40 KB if the client does not let the
    server limit its window). Level 1 takes half the time of the usual 6, and its
    output is some 10 % longer.
    """
    return ServerPerMessageDeflateFactory(
        server_no_context_takeover=not context_takeover,
        client_no_context_takeover=not context_takeover,
        server_max_window_bits=12,
        client_max_window_bits=12,
        compress_settings={"level": 1, "memLevel": 5},
    )


_DATA = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class WebSocketWire(ServerProtocol):
    """Parses frames and puts their messages into `inbox`, each as soon as it is parsed.

    The library would gather the frames of one read in a list. That is memory which
    the client chooses: a frame of six bytes becomes an object of hundreds.
    """

    def __init__(self, inbox: WebSocketInbox, settings: HttpConfig) -> None:
        compression = (
            [_compression(settings.websocket_context_takeover)]
            if settings.websocket_compression
            else None
        )
        super().__init__(
            state=State.OPEN, max_size=settings.websocket_max_message, extensions=compression
        )
        self._inbox = inbox
        self._least = _LEAST if settings.websocket_context_takeover else _LEAST_WITHOUT_CONTEXT
        self._is_muted = False
        self._unanswered: BytesLike | None = None  # the latest ping since `mute`

    def mute(self) -> None:
        """Answer no ping until `unmute`: a client that does not read would fill the buffer."""
        self._is_muted = True

    def unmute(self) -> None:
        """Answer pings again, of those since `mute` the latest (RFC 6455 section 5.5.3)."""
        self._is_muted = False
        data, self._unanswered = self._unanswered, None
        if data is not None and self.state is State.OPEN:
            self.send_pong(data)

    def recv_frame(self, frame: Frame) -> None:
        """Handle a well-formed frame; the library turns errors raised here into a close."""
        if frame.opcode is Opcode.PING and self._is_muted:
            self._unanswered = frame.data
            return
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # RFC 6455 allows a close in the middle of a message
        super().recv_frame(frame)
        self.events.clear()
        if frame.opcode in _DATA:
            self._inbox.add(frame)

    def send_frame(self, frame: Frame) -> None:
        """Serialize a frame, compressed if that was negotiated and is worth it."""
        if self.extensions and not self._least <= len(frame.data) <= _MOST:
            self.writes.append(frame.serialize(mask=False))
        else:
            super().send_frame(frame)

    def discard_incomplete(self) -> None:
        """Throw away incomplete frames and messages: their ends will not come.

        The parser refers to this object and this object to the parser. Without
        this, both would keep their bytes until the garbage collector runs.
        """
        self.parser.close()
        self.extensions = []
        self.reader.discard()
        self._inbox.drop_partial()
