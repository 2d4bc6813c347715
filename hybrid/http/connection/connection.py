"""One client connection: the protocol object of its transport, and its requests in turn.

    transport --> data_received --> reader --> queue of requests
                                                 | one at a time, in order
                                                 v
    transport <-- Flow.write <---------------- Exchange <-- the application

Rule 1: the application is never started inside a callback of the parser: the
        callbacks fill the queue, `serve` empties it in a loop. Recursion
        would end at some 500 pipelined requests.
Rule 2: the next request starts when the answer before it is complete and the
        client reads; so the memory that one client can fill is bounded.
Rule 3: no timer per connection. `deadline` is a number that the server's tick
        compares with the clock; moving it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Any

from hybrid.http.connection.closing import (
    abandon_answers,
    answer_refusal,
    linger_and_close,
    refuse,
)
from hybrid.http.connection.connection_states import ConnectionState, Event, advance
from hybrid.http.connection.flow import Flow
from hybrid.http.exchange.application_run import run_application
from hybrid.http.exchange.client_connection import EndedExchange
from hybrid.http.exchange.exchange import Exchange
from hybrid.http.exchange.websocket import WebSocketExchange
from hybrid.http.request.message import Request
from hybrid.http.request.reader import RequestReader
from hybrid.http.request.refusal import Refused
from hybrid.http.shared import Shared, start_task

_READ_AHEAD = 64 * 1024  # bytes that wait for the application before we stop reading
_PIPELINED = 4  # requests that wait for their turn before we stop reading

# Names of this module, because these are read for every request: see `connection_states`.
_SERVING, _HEAD, _IDLE = ConnectionState.SERVING, ConnectionState.HEAD, ConnectionState.IDLE
_UPGRADED, _REQUEST = ConnectionState.UPGRADED, Event.REQUEST

# The transitions of every keep-alive request, looked up once.
_FROM_IDLE = advance(_IDLE, _REQUEST)
_AFTER_ANSWER = advance(_SERVING, Event.ANSWERED)


class Connection(Flow):
    """One client connection, from accept to close."""

    __slots__ = (
        "_early",
        "_on_closed",
        "_served",
        "_serving",
        "client",
        "exchange",
        "is_trusted",
        "reader",
        "refusal",
        "scheme",
        "server",
        "state",
    )

    def __init__(self, shared: Shared, on_closed: Callable[[], None], early: bytes = b"") -> None:
        super().__init__(shared)
        self._on_closed = on_closed  # called once, when the transport is closed
        self._early = early  # read before the socket was passed to this process
        self.state = ConnectionState.NEW
        self.scheme = "http"
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self.is_trusted = False  # its peer may speak for others: X-Forwarded-*
        self.reader = RequestReader(shared.settings)
        self.exchange: Exchange | None = None  # the one whose answer is owed now
        self.refusal: Refused | None = None  # why nothing more is read; answered in its turn
        self._serving = False
        self._served = 0  # requests so far

    # -- requests, one after the other ---------------------------------------------

    def serve(self) -> None:
        """Answer what is in the queue, in a loop while answers are complete at once.

        `_begin` may run an application to its end, which writes to the transport,
        which may call `resume_writing` and so this method again. The call inside
        returns at once: the loop outside begins the next request.
        """
        if self._serving:
            return
        self._serving = True
        reader = self.reader
        while self.exchange is None and self.state < _UPGRADED and not self.is_write_paused:
            if reader.ready:
                self._begin(reader.ready.pop(0))
                if reader.ready and self.transport.is_closing():
                    break  # the client has left and will not read further answers
            elif not reader.rest or not self._parse_rest():
                break
        self._serving = False
        if self.exchange is None:
            self.settle()
        else:
            self.pace()

    def _parse_rest(self) -> bool:
        """Parse what was kept back; return whether that completed a head."""
        try:
            self.reader.parse(b"")
        except Refused as refusal:
            refuse(self, refusal)
        return bool(self.reader.ready)

    def _begin(self, request: Request) -> None:
        state = self.state
        self.state = _FROM_IDLE if state is _IDLE else advance(state, _REQUEST)
        self._served += 1
        shared = self.shared
        exchange = (WebSocketExchange if request.websocket else Exchange)(self, request)
        self.exchange = exchange
        if exchange.began > shared.coalescer.due:
            shared.coalescer.flush()
        counts, limit = shared.counts, shared.settings.limit_concurrency
        counts.active += 1
        if shared.activity.is_resting:
            shared.activity.begin()
        if limit and counts.active > limit:
            exchange.answer_instead(503, f"{limit} requests at once are the limit here")
        elif not request.websocket or not exchange.refuse_bad_handshake():
            shared.running.add(exchange)
            exchange.task = start_task(shared, run_application(shared, exchange))

    def exchange_ended(self, exchange: EndedExchange) -> None:
        """Count and log the exchange; wait for the next request, or close."""
        shared = self.shared
        is_connected = self.exchange is exchange
        if is_connected:
            self.exchange = None
        seconds = perf_counter() - exchange.began
        shared.counts.count(exchange.status, seconds)
        if shared.log is not None:
            shared.log.write(exchange, self.client, seconds)
        if not is_connected:
            return
        if exchange.closes:
            linger_and_close(self)
        elif self._serving:
            return  # the loop in `serve` begins the next request
        elif self.has_more():
            # Not from here: this runs inside the application's call of `send`, and the next
            # application would run inside this one's.
            shared.loop.call_soon(self.serve)
        else:
            self.settle()

    def settle(self) -> None:
        """Wait for the client's next bytes, or close; called when no answer is owed."""
        state, reader = self.state, self.reader
        if state >= _UPGRADED or reader.ready:
            return
        if self.refusal is not None:
            answer_refusal(self, self.refusal)
            return
        if self.half_closed:
            linger_and_close(self)
            return
        shared, current = self.shared, reader.current
        settings = shared.settings
        if current is None:
            if state is _SERVING:
                self.state = _AFTER_ANSWER
                patience = settings.linger if shared.draining else settings.keep_alive
                self.deadline = shared.watch.now + patience
        elif current.method:  # the end of a body that the application did not want
            current.take_body()
            self.set_deadline(settings.body_timeout)
        elif state is not _HEAD:
            self.state = advance(state, Event.NEXT if state is _SERVING else Event.BYTES)
            self.set_deadline(settings.header_timeout)
        if not self._is_reading:
            self.resume_reading()

    def has_more(self) -> bool:
        """Return whether something behind the current request waits for its turn."""
        return bool(self.reader.ready or self.reader.rest)

    def may_stay_open(self) -> bool:
        """Return whether another request may follow the current one."""
        shared = self.shared
        most = shared.settings.keepalive_requests
        if (
            shared.draining
            or (self.half_closed and not (self.has_more() or self.refusal))
            or (most and self._served >= most)
        ):
            return False
        if shared.shed:
            shared.shed -= 1
            return False
        return True

    # -- pace ----------------------------------------------------------------------

    def pace(self) -> None:
        """Read while there is room, and set a deadline while the client has to act.

        No deadline runs while the application computes: a slow answer must not
        look like a slow client. The client has to act when it does not read what
        is written, or has not sent the rest of the body that there is room for.
        """
        exchange, reader = self.exchange, self.reader
        if exchange is None or self.state >= _UPGRADED:
            return
        request = exchange.request
        owed = self.is_write_paused
        if request.ended:
            room = len(reader.ready) < _PIPELINED and len(reader.rest) < _READ_AHEAD
        else:
            room = request.buffered < _READ_AHEAD
            owed = owed or (room and not request.expects_continue)
        if owed:
            self.set_deadline(self.shared.settings.body_timeout)
        else:
            self.deadline = inf
        if room is not self._is_reading:
            self.resume_reading() if room else self.pause_reading()

    def switch_to_frames(self) -> bytes:
        """Pass what comes from now on to the exchange; return the frames that came before 101."""
        self.state = advance(self.state, Event.SWITCHED)
        self.deadline = inf
        rest, self.reader.rest = self.reader.rest, b""
        if not self._is_reading:
            self.resume_reading()
        return rest

    # -- called by the transport ------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Serve the connection that this transport stands for."""
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
        shared.watch.start()
        shared.activity.begin()
        self.set_deadline(settings.linger if shared.draining else settings.keep_alive)
        if self._early:
            # The process that moved the connection here has read these bytes: they are not in the
            # kernel any more, so the transport will not deliver them. The client has sent its
            # request and waits; the loop would wait for bytes that never come.
            early, self._early = self._early, b""
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and serve what is complete."""
        exchange = self.exchange
        if self.state >= _UPGRADED:
            if exchange is not None:
                exchange.receive_frames(data)
            return  # CLOSING: thrown away, see `linger_and_close`
        try:
            self.reader.parse(data)
        except Refused as refusal:
            refuse(self, refusal)
        if exchange is None:
            self.serve()
        else:
            exchange.wake()
            self.pace()

    def eof_received(self) -> bool:
        """Treat the end of input as the client's departure; return whether to stay open.

        With --half-close a client that has sent its requests in full still gets
        the answers.
        """
        self.half_closed = True
        self.release()  # if this returns False the transport closes
        exchange = self.exchange
        if self.state >= _UPGRADED or not (exchange or self.has_more()):
            return False  # nothing is owed
        complete = exchange is None or exchange.request.ended
        # TLS has no half-closed state.
        if not (self.shared.settings.half_close and complete and self.scheme == "http"):
            abandon_answers(self)
            return False
        if exchange is None:
            self.shared.loop.call_soon(self.serve)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection: it was closed by us, reset, or a write has failed."""
        self.state = advance(self.state, Event.LOST)
        self.deadline = inf
        self.held = b""
        shared = self.shared
        shared.connections.discard(self)
        exchange, self.exchange = self.exchange, None
        self.reader.ready.clear()
        self.resume_writing()
        if exchange is not None:
            exchange.lose_client()
        self._on_closed()
        shared.ended()

    def pause_writing(self) -> None:
        """Make the application wait: the client reads slower than it writes."""
        super().pause_writing()
        if self.state is not _UPGRADED:
            self.pace()
        elif self.exchange is not None:
            self.exchange.pace_writing()

    def resume_writing(self) -> None:
        """Let the application go on: the client has caught up, or has left."""
        super().resume_writing()
        if self.state < _UPGRADED:
            if self.exchange is None and self.has_more():
                self.serve()
            else:
                self.pace()
        elif self.exchange is not None:
            self.exchange.pace_writing()

    # -- called by the server ----------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun, so that cutting the connection loses nothing."""
        return self.state in (ConnectionState.NEW, _IDLE)

    def drain(self) -> None:
        """End soon: after the answers that are owed, or after the linger.

        A request may be travelling on a young or an idle connection; closing at
        once would reset it. A connection that was never used has had its chance
        when it is older than the linger.
        """
        settings = self.shared.settings
        if self.state is ConnectionState.NEW:
            accepted_at = self.deadline - settings.keep_alive
            self.deadline = min(self.deadline, accepted_at + settings.linger)
        elif self.state is _IDLE:
            self.deadline = min(self.deadline, self.shared.watch.now + settings.linger)
        elif self.exchange is not None:
            self.exchange.drain()

    def act_on_deadline(self) -> None:
        """Act on the deadline, which has passed: abort, answer 408, ping, or close."""
        transport = self.transport
        if self.state is _UPGRADED and self.exchange is not None:
            self.exchange.time_out()
            return
        unsent = transport.get_write_buffer_size()
        if unsent and unsent < self.unsent:
            self.unsent = unsent  # slow, but it reads
            self.set_deadline(self.shared.settings.body_timeout)
        elif unsent or transport.is_closing() or self.state is ConnectionState.CLOSING:
            self.abort()
        elif self.state is _HEAD:
            refuse(self, Refused(408, "the headers did not come in time (--header-timeout)"))
            self.settle()
        elif self.exchange is not None:
            self.exchange.time_out()
        else:
            self.close()

    def describe(self) -> str:
        """Return client, state and request, for a log line."""
        client, exchange = self.client, self.exchange
        peer = f"{client[0]}:{client[1]}" if client else "unix"
        text = f"client={peer} state={self.state.name.lower()}"
        if exchange is None:
            return text
        request = exchange.request
        target = ascii(request.target.decode("latin-1"))
        return f"{text} request_id={exchange.request_id} {request.method} {target}"
