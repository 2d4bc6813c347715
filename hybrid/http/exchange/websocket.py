"""WebSocket: frames on the wire, messages for the application.

    data_received --> websockets' sans-I/O protocol --> inbox --> receive()
    transport     <-- data_to_send() <-------------------------- send()

The handshake arrives as an HTTP request, so this is an exchange whose answer
is 101 (or, denied, an ordinary HTTP answer). The library does frames, masking,
fragments, ping and the closing handshake (RFC 6455); flow control, the size of
the inbox, detecting dead clients and the translation to ASGI are done here.

The exchange ends when the transport ends: until then the closing handshake may
still be under way.
"""

from __future__ import annotations

from math import inf

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.protocol import State as WireState
from websockets.server import ServerProtocol

from hybrid.http.answer.heads import BadAnswer
from hybrid.http.exchange.client_connection import ClientConnection
from hybrid.http.exchange.exchange import CLIENT_GONE, Exchange, Progress
from hybrid.http.exchange.scope import websocket_scope
from hybrid.http.exchange.websocket_inbox import WebSocketInbox
from hybrid.http.exchange.websocket_wire import WebSocketWire
from hybrid.http.request.message import Header, Request
from hybrid.http.request.refusal import ClientGone, Refused
from hybrid.http.shared import Message

# -- The opening handshake of a WebSocket (RFC 6455 section 4.2) -----------------

# What a refused client may try instead (RFC 6455 section 4.4, RFC 9110 section 15.5.22).
_SPOKEN = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))


def negotiate(wire: ServerProtocol, request: Request) -> list[Header]:
    """Return the headers of a successful handshake, and set up `wire` for what is agreed.

    Raises:
        Refused: the handshake is not valid; with the status and the reason for the client.
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


_PIECE = 16 * 1024  # bytes that are parsed before the room in the inbox is checked again
_COMPRESSED_PIECE = 1024  # the same, where each byte may become a thousand
_CLOSING = 5.0  # s the client has to answer the close frame
_DENIAL = "websocket.http.response."


class WebSocketExchange(Exchange):
    """A WebSocket, from the handshake to the last frame."""

    def __init__(self, connection: ClientConnection, request: Request) -> None:
        super().__init__(connection, request)
        self._inbox = WebSocketInbox({"type": "websocket.connect"})
        self._wire = WebSocketWire(self._inbox, connection.shared.settings)
        self._opened = False
        self._pinged = False
        self._written = 0  # bytes since the handshake
        self._taken = 0  # bytes of them that the socket had taken when that was last measured
        self._unparsed = b""  # behind messages that the application has not received
        self._code: tuple[int, str] | None = None  # close code and reason, once it has ended
        self._handshake: list[Header] = []  # the headers that say what is agreed
        websocket_scope(self.scope, request.headers)

    # -- called by the connection ----------------------------------------------------

    def refuse_bad_handshake(self) -> bool:
        """Answer a handshake that is not valid; return whether it was one."""
        try:
            self._handshake = negotiate(self._wire, self.request)
        except Refused as refusal:
            self.answer_instead(refusal.status, refusal.detail, more=_SPOKEN)
            return True
        return False

    def _may_stay_open(self) -> bool:
        """Return False: after any answer but 101 the reader cannot go back to HTTP."""
        return False

    def receive_frames(self, data: bytes) -> None:
        """Parse bytes of the client, as far as there is room for their messages."""
        self._pinged = False
        self._unparsed = self._unparsed + data if self._unparsed else data
        self._parse()

    def _parse(self) -> None:
        """Parse in small steps, while there is room for the messages.

        Parsing a whole read at once would let the client choose the memory used: bytes
        become a hundred times as many as messages without payload, each a dict,
        and a thousand times as many when they are compressed.
        """
        wire, data = self._wire, self._unparsed
        at, size = 0, len(data)
        step = _COMPRESSED_PIECE if wire.extensions else _PIECE
        while at < size and not self._inbox.is_full:
            wire.receive_data(data[at : at + step])
            at += step
        self._unparsed = data[at:]
        if self._inbox:
            self.wake()
        ended = wire.close_sent if wire.parser_exc is not None else wire.close_rcvd
        if ended is not None:
            self._set_code(ended.code, ended.reason)
        self._flush()
        if self._inbox.is_full:
            self._connection.pause_reading()
        else:
            self._connection.resume_reading()

    def time_out(self) -> None:
        """Send a ping to a silent client; cut it if it was silent since the last one.

        A client that reads what is written is alive, however slowly it reads. One
        whose messages wait for the application gets no ping: its pong would wait
        behind them, and a slow application would look like a dead client.
        """
        connection = self._connection
        is_open = self._wire.state is WireState.OPEN
        if self._has_taken_bytes():
            self._pinged = False
        elif self._pinged or not is_open or connection.is_write_paused:
            connection.abort()
            return
        if is_open and not (connection.is_write_paused or self._inbox.is_full):
            self._pinged = True
            self._wire.send_ping(b"")
            self._flush()
        if connection.is_write_paused or not is_open:
            connection.set_deadline(connection.shared.settings.body_timeout)
        else:
            self._reset_deadline()

    def pace_writing(self) -> None:
        """Give a client that reads too slowly --body-timeout; end that when it has caught up."""
        connection = self._connection
        if connection.is_write_paused:
            self._wire.mute()
            self._has_taken_bytes()
            connection.set_deadline(connection.shared.settings.body_timeout)
        else:
            self._wire.unmute()
            self._reset_deadline()
            self._flush()

    def _has_taken_bytes(self) -> bool:
        """Return whether the socket was full at the last call, and has taken bytes since.

        Taking alone proves nothing: the kernel buffers some megabytes for a dead client.
        """
        connection = self._connection
        before, was_full = self._taken, connection.unsent > 0
        connection.unsent = unsent = connection.transport.get_write_buffer_size()
        self._taken = self._written - unsent
        return was_full and self._taken > before

    def drain(self) -> None:
        """Close with 1001, going away."""
        if self._opened:
            self._close(1001, "the server is leaving")

    def lose_client(self) -> None:
        """End: the transport is closed."""
        if self._opened:
            self._set_code(1006, "")
            if self.progress < Progress.COMPLETE:
                self._end(Progress.GONE, 101)
        elif self.progress < Progress.COMPLETE:
            self._end(Progress.GONE, CLIENT_GONE)
        self.departure.trigger()

    # -- receive ---------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next message; after the end, always the disconnect."""
        while not self._inbox:
            if self._code is not None or self.progress >= Progress.COMPLETE:
                code, reason = self._code or (1006, "")
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            await self._wait_for_change()
        message = self._inbox.pop()
        if self._opened and not self._inbox.is_full:
            if self._unparsed:
                self._parse()
            else:
                self._connection.resume_reading()
        return message

    def _set_code(self, code: int, reason: str) -> None:
        """Set close code and reason, unless they are set: the first reason counts."""
        if self._code is None:
            self._code = (code, reason)
            self.wake()

    # -- send ------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send one message of the application; waits while the client reads too slowly.

        Raises:
            ClientGone: the WebSocket has ended.
            BadAnswer: ASGI does not allow the message in this state.
        """
        kind = message["type"]
        if kind.startswith(_DENIAL) and not self._opened:
            plain = {**message, "type": kind.removeprefix("websocket.")}
            await super().send(plain)
            return
        if self.progress >= Progress.COMPLETE or (self._opened and self._code is not None):
            if kind == "websocket.close":
                return  # both sides closed at once
            raise ClientGone("the WebSocket has ended")
        if not self._opened:
            self._answer_handshake(kind, message)
        elif kind == "websocket.send":
            self._send_message(message)
        elif kind == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason") or "")
        else:
            raise BadAnswer(f"{kind!r} is not allowed in an open WebSocket")
        if self._connection.is_write_paused:
            await self._connection.wait_writable()

    def _answer_handshake(self, kind: str, message: Message) -> None:
        if kind == "websocket.close":
            self.answer_instead(403, "the application refused the WebSocket")
            return
        if kind != "websocket.accept" or self.progress is not Progress.NOTHING:
            raise BadAnswer(f"{kind!r} is not allowed before websocket.accept")
        connection = self._connection
        subprotocol = message.get("subprotocol")
        if subprotocol:
            protocol = (b"sec-websocket-protocol", subprotocol.encode("latin-1"))
            self._handshake.append(protocol)
        headers = [*message.get("headers", ()), *self._handshake]
        connection.write(connection.shared.heads.switching(headers, self.request_id))
        self._opened = True
        self.progress = Progress.STREAMING
        self.status = 101
        rest = connection.switch_to_frames()
        self._reset_deadline()
        if rest:
            self.receive_frames(rest)
        if connection.shared.draining:
            self.drain()

    def _send_message(self, message: Message) -> None:
        text = message.get("text")
        if text is not None:
            data = text.encode()
            self._wire.send_text(data)
        else:
            data = message["bytes"]
            self._wire.send_binary(data)
        self.sent += len(data)
        self._flush()

    # -- the end -----------------------------------------------------------------------

    def _end(self, progress: Progress, status: int) -> None:
        self._wire.discard_incomplete()
        self._unparsed = b""
        super()._end(progress, status)

    def _close(self, code: int, reason: str) -> None:
        if self._wire.state is WireState.OPEN:
            self._wire.send_close(code, reason)
            self._flush()
            self._connection.set_deadline(_CLOSING)

    def break_off(self) -> None:
        """Close with 1011: the application has raised an exception."""
        if self._opened:
            self._ignore_messages()
            self._close(1011, "the application failed")
        else:
            super().break_off()

    def give_up(self, reason: str) -> None:
        """Close with 1000: returning without websocket.close is a normal end when it is open."""
        if self._opened:
            self._ignore_messages()
            self._close(1000, "")
        else:
            super().give_up(reason)

    def _ignore_messages(self) -> None:
        """Read on, but only for the client's close: the application has returned."""
        self._inbox.shut()
        self._parse()

    def _flush(self) -> None:
        """Write what the library has to send; its last piece is empty at the end of stream."""
        pieces = self._wire.data_to_send()
        if not pieces:
            return
        connection = self._connection
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if data:
            self._written += len(data)
            connection.write(data)
        if not pieces[-1]:
            self._end_stream()
            connection.set_deadline(_CLOSING)

    def _end_stream(self) -> None:
        """Close, but not so that the client cannot read the reason.

        Closing a socket with unread input makes the kernel send a reset, which may
        overtake the close frame. After an error in the client's bytes there may be
        more of them, so only the writing side is closed. The library throws away
        what still comes.
        """
        connection = self._connection
        transport = connection.transport
        if self._wire.parser_exc is not None and transport.can_write_eof():
            transport.write_eof()
        else:
            connection.close()

    def _reset_deadline(self) -> None:
        """Set the next deadline: of the next ping, or of the closing handshake."""
        ping = self._connection.shared.settings.websocket_ping
        if self._wire.state is not WireState.OPEN:
            self._connection.set_deadline(_CLOSING)
        elif ping:
            self._connection.set_deadline(ping)
        else:
            self._connection.deadline = inf
