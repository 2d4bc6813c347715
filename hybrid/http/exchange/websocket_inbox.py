"""Frames to messages, and the messages that the application has not received yet."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections import deque

from websockets.frames import Frame, Opcode
from websockets.typing import BytesLike

from hybrid.http.shared import Message

_ROOM = 64 * 1024  # bytes of messages, then reading pauses
_MESSAGE_COST = 256  # bytes that a message counts in addition to its payload

_new_decoder = getincrementaldecoder("utf-8")


class WebSocketInbox:
    """Messages of one WebSocket on their way to the application.

    The fragments of a message are appended to one buffer. A list of them would be
    memory that the client chooses: an empty fragment would still cost an object.
    """

    __slots__ = ("_decoder", "_is_shut", "_messages", "_partial", "_waiting")

    def __init__(self, first: Message) -> None:
        self._messages: deque[tuple[int, Message]] = deque([(0, first)])
        self._waiting = 0  # bytes of complete messages
        self._partial = bytearray()  # a message whose last fragment has not come
        self._decoder: IncrementalDecoder | None = (
            None  # of a text in fragments: checks each of them
        )
        self._is_shut = False

    def __bool__(self) -> bool:
        """Whether there is a message to pop."""
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether the client has to wait until the application receives a message."""
        return self._waiting > _ROOM

    def add(self, frame: Frame) -> None:
        """Add a data frame: a message, or a piece of one.

        Raises:
            UnicodeDecodeError: text that is not UTF-8, known by the first fragment that is not.
        """
        if self._is_shut:
            return
        opcode, data = frame.opcode, frame.data
        if frame.fin and opcode is not Opcode.CONT:
            self._put(data, is_text=opcode is Opcode.TEXT)
            return
        if opcode is not Opcode.CONT:
            self._decoder = _new_decoder() if opcode is Opcode.TEXT else None
        if self._decoder is not None:
            self._decoder.decode(data, frame.fin)
        self._partial += data
        if frame.fin:
            payload, self._partial = self._partial, bytearray()
            self._put(payload, is_text=self._decoder is not None)

    def pop(self) -> Message:
        """Return the oldest message; there must be one."""
        cost, message = self._messages.popleft()
        self._waiting -= cost
        return message

    def shut(self) -> None:
        """Throw away the messages and those that will come: the application has returned."""
        self._is_shut = True
        self._messages.clear()
        self._waiting = 0
        self.drop_partial()

    def drop_partial(self) -> None:
        """Throw away the incomplete message: its end will not come."""
        self._partial = bytearray()

    def _put(self, payload: BytesLike, *, is_text: bool) -> None:
        message: Message = {"type": "websocket.receive"}
        if is_text:
            message["text"] = str(payload, "utf-8")
        else:
            message["bytes"] = bytes(payload)
        cost = len(payload) + _MESSAGE_COST
        self._waiting += cost
        self._messages.append((cost, message))
