"""The frames of one WebSocket: the library's sans-I/O protocol, with our habits."""

from __future__ import annotations

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import BytesLike

from hybrid.http.inbox import Inbox

_DATA = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class Wire(ServerProtocol):
    """Parses frames and puts their messages into `inbox`, each as soon as it is parsed.

    A list of what one read brought would be memory that the client chooses: a
    frame of six bytes is an object of hundreds.
    """

    def __init__(self, inbox: Inbox, max_message: int) -> None:
        super().__init__(state=State.OPEN, max_size=max_message)
        self._inbox = inbox
        self._is_muted = False
        self._unanswered: BytesLike | None = None  # the latest ping since then

    def mute(self) -> None:
        """Answer no ping until `unmute`: the client does not read what we write."""
        self._is_muted = True

    def unmute(self) -> None:
        """Answer pings again: of those that came meanwhile the latest (RFC 6455 section 5.5.3)."""
        self._is_muted = False
        data, self._unanswered = self._unanswered, None
        if data is not None and self.state is State.OPEN:
            self.send_pong(data)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame that is well formed; the library answers errors raised here."""
        if frame.opcode is Opcode.PING and self._is_muted:
            self._unanswered = frame.data
            return
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a close may come in the middle of a message, says RFC 6455
        super().recv_frame(frame)
        self.events.clear()
        if frame.opcode in _DATA:
            self._inbox.add(frame)

    def forget(self) -> None:
        """Keep nothing of what was not complete: its end will not come.

        The parser refers to its protocol, so both would otherwise wait for the
        garbage collector, with all their bytes.
        """
        self.parser.close()
        self.reader.discard()
        self._inbox.drop_partial()
