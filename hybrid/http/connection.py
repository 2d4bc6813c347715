"""One connection: the protocol object between a transport and its dialogue.

    transport --> data_received --> Dialogue.reader --> ... --> the application
    transport <-- Flow.write <----- Exchange <-----------------------+

Rule: no timer per connection. `deadline` is a number that the server's tick
      compares with the clock; moving it costs nothing.
"""

from __future__ import annotations

from math import inf
from typing import Any

from hybrid.http.dialogue import Dialogue
from hybrid.http.life import Event, State, advance
from hybrid.http.parting import let_go, refuse
from hybrid.http.refusal import Refused
from hybrid.http.shared import Shared

_UPGRADED = State.UPGRADED  # an attribute of an Enum is a Python call before 3.12


class Connection(Dialogue):
    """One client connection, from accept to close."""

    __slots__ = ("_early",)

    def __init__(self, shared: Shared, early: bytes = b"") -> None:
        super().__init__(shared)
        self._early = early  # read before the socket was handed to us

    def connection_made(self, transport: Any) -> None:
        """The socket is ours."""
        shared = self.shared
        settings = shared.settings
        self.transport = transport
        transport.set_write_buffer_limits(high=settings.write_buffer)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        peer = transport.get_extra_info("peername")
        here = transport.get_extra_info("sockname")
        if isinstance(peer, tuple):
            self.client = (peer[0], peer[1])
        self.server = (here[0], here[1]) if isinstance(here, tuple) else (str(here), None)
        if settings.proxy_headers:
            self.is_trusted = shared.trusted.trusts(self.client[0] if self.client else None)
        shared.connections.add(self)
        self.wait_for(settings.linger if shared.draining else settings.keep_alive)
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and serve what is complete."""
        exchange = self.exchange
        if self.state >= _UPGRADED:
            if exchange is not None:
                exchange.take_frames(data)
            return  # CLOSING: thrown away, so that the client can read our last answer
        try:
            self.reader.feed(data)
        except Refused as refusal:
            refuse(self, refusal)
        if exchange is None:
            self.serve()
        else:
            exchange.wake()
            self.pace()

    def eof_received(self) -> bool:
        """The client sends no more: it has left, unless it may half-close and has asked in full."""
        self.half_closed = True
        self.release()  # the transport may close at our word
        exchange = self.exchange
        if self.state >= _UPGRADED or not (exchange or self.has_more()):
            return False  # nothing is owed
        complete = exchange is None or exchange.request.ended
        # TLS has no half-closed state.
        if not (self.shared.settings.half_close and complete and self.scheme == "http"):
            let_go(self)
            return False
        if exchange is None:
            self.shared.loop.call_soon(self.serve)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone: closed by us, reset, or a write failed."""
        self.state = advance(self.state, Event.LOST)
        self.deadline = inf
        self.held = b""
        shared = self.shared
        shared.connections.discard(self)
        exchange, self.exchange = self.exchange, None
        self.reader.ready.clear()
        self.resume_writing()
        if exchange is not None:
            exchange.depart()
        if shared.on_room is not None:
            shared.on_room()
        shared.ended()

    def pause_writing(self) -> None:
        """The client reads slower than the application writes."""
        super().pause_writing()
        if self.state is not _UPGRADED:
            self.pace()
        elif self.exchange is not None:
            self.exchange.pace_writing()

    def resume_writing(self) -> None:
        """The client has caught up, or is gone."""
        super().resume_writing()
        if self.state < _UPGRADED:
            if self.exchange is None and self.has_more():
                self.serve()
            else:
                self.pace()
        elif self.exchange is not None:
            self.exchange.pace_writing()
