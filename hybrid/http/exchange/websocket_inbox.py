"""Frames to messages, and the messages that the application has not taken."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections import deque

from websockets.frames import Frame, Opcode
from websockets.typing import BytesLike

from hybrid.http.shared import Message

_ROOM = 64 * 1024  # bytes of messages, then reading pauses
_MESSAGE_COST = 256  # bytes that a message counts beside its payload

_new_decoder = getincrementaldecoder("utf-8")


class WebSocketInbox:
    """Messages of one WebSocket on their way to the application.

    A message that comes in fragments is one growing buffer, however many they
    are: a fragment, empty or not, keeps nothing beside its bytes.
    """

    __slots__ = ("_decoder", "_is_shut", "_messages", "_partial", "_waiting")

    def __init__(self, first: Message) -> None:
        self._messages: deque[tuple[int, Message]] = deque([(0, first)])
        self._waiting = 0  # bytes of complete messages
        self._partial = bytearray()  # a message of which the last fragment is not here
        self._decoder: IncrementalDecoder | None = None  # it is text: checks every fragment
        self._is_shut = False

    def __bool__(self) -> bool:
        """Return whether there is a message to take."""
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether the client has to wait until the application takes something."""
        return self._waiting > _ROOM

    def add(self, frame: Frame) -> None:
        """Take a data frame: a message, or a piece of one.

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

    def take(self) -> Message:
        """Return the oldest message; there must be one."""
        cost, message = self._messages.popleft()
        self._waiting -= cost
        return message

    def shut(self) -> None:
        """Throw away what is here and what will come: the application takes no more."""
        self._is_shut = True
        self._messages.clear()
        self._waiting = 0
        self.drop_partial()

    def drop_partial(self) -> None:
        """Forget the message that is not complete: its end will not come."""
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
