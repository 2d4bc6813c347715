"""One connection: the protocol object between a transport and its exchanges.

    transport --> data_received --> reader --> queue of requests
                                                  | one at a time, in order
                                                  v
    transport <-- write <-------- Exchange <-- the application

Rule 1: the application is never started inside a callback of the parser: the
        callbacks fill the queue, `_serve` empties it in a loop. Recursion
        would end at some 500 pipelined requests.
Rule 2: the next request starts when the answer before it is complete and the
        client reads; so what one client can make us hold is bounded.
Rule 3: no timer per connection. `deadline` is a number that the server's tick
        compares with the clock; moving it costs nothing.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

from hybrid.http.answer import Answer
from hybrid.http.exchange import Exchange, usable_id
from hybrid.http.forwarded import scheme_of
from hybrid.http.life import Event, State, advance
from hybrid.http.message import Request
from hybrid.http.reader import RequestReader
from hybrid.http.refusal import Refused, problem
from hybrid.http.shared import Shared, start_task
from hybrid.http.websocket import WebSocketExchange

READ_AHEAD = 64 * 1024  # bytes that wait for the application before we stop reading
_PIPELINED = 4  # requests that wait for their turn before we stop reading
_LINGERING = 2.0  # s, after the last answer, in which what the client still sends is thrown away


class Connection(asyncio.Protocol):
    """One client connection, from accept to close."""

    __slots__ = (
        "_early",
        "_exchange",
        "_half_closed",
        "_is_reading",
        "_reader",
        "_refusal",
        "_served",
        "_serving",
        "_unsent",
        "_writable",
        "client",
        "deadline",
        "is_trusted",
        "is_write_paused",
        "scheme",
        "server",
        "shared",
        "state",
        "transport",
    )

    def __init__(self, shared: Shared, early: bytes = b"") -> None:
        self.shared = shared
        self.scheme = "http"
        self.state = State.NEW
        self.deadline = inf
        self.transport: Any = None
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self.is_trusted = False
        self.is_write_paused = False
        self._early = early  # read before the socket was handed to us
        self._reader = RequestReader(shared.settings)
        self._exchange: Exchange | None = None
        self._refusal: Refused | None = None
        self._serving = False
        self._half_closed = False
        self._is_reading = True
        self._served = 0  # requests so far
        self._unsent = 0  # bytes in the write buffer at the last look
        self._writable: asyncio.Future[None] | None = None

    # -- the transport's calls -----------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """The socket is ours."""
        shared = self.shared
        settings = shared.settings
        self.transport = transport
        transport.set_write_buffer_limits(high=settings.write_buffer)
        peer = transport.get_extra_info("peername")
        here = transport.get_extra_info("sockname")
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        if isinstance(peer, tuple):
            self.client = (peer[0], peer[1])
        self.server = (here[0], here[1]) if isinstance(here, tuple) else (str(here), None)
        if settings.proxy_headers:
            self.is_trusted = shared.trusted.trusts(self.client[0] if self.client else None)
        shared.connections.add(self)
        patience = settings.linger if shared.draining else settings.keep_alive
        self.deadline = shared.loop.time() + patience
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and serve what is complete."""
        exchange = self._exchange
        if self.state >= State.UPGRADED:
            if exchange is not None:
                exchange.take_frames(data)
            return  # CLOSING: thrown away, so that the client can read our last answer
        reader = self._reader
        try:
            reader.feed(data)
        except Refused as refusal:
            self._refuse(refusal)
        if exchange is None:
            self._serve()
        else:
            exchange.wake()
            self.pace()

    def eof_received(self) -> bool:
        """The client sends no more. While an answer is owed, that is its right."""
        self._half_closed = True
        exchange = self._exchange
        if exchange is not None:
            owed = exchange.request.ended and self.state is not State.UPGRADED
        else:
            owed = self._has_more()  # `_serve` is on its way
        return owed and self.scheme == "http"  # TLS has no half-closed state

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone: closed by us, reset, or a write failed."""
        self.state = advance(self.state, Event.LOST)
        self.deadline = inf
        shared = self.shared
        shared.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        self._reader.ready.clear()
        self.resume_writing()
        if exchange is not None:
            exchange.depart()
        if shared.on_room is not None:
            shared.on_room()
        shared.ended()

    def pause_writing(self) -> None:
        """The client reads slower than the application writes."""
        self.is_write_paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self.pace()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.is_write_paused = False
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)
        if self.state < State.UPGRADED:
            if self._exchange is None and self._has_more():
                self._serve()
            else:
                self.pace()

    # -- requests, one after the other ---------------------------------------------

    def _serve(self) -> None:
        """Answer what is in the queue, in a loop while answers are complete at once."""
        if self._serving:
            return
        self._serving = True
        reader = self._reader
        while self._exchange is None and self.state < State.UPGRADED and not self.is_write_paused:
            if reader.ready:
                self._begin(reader.ready.popleft())
            elif not reader.rest or not self._feed_rest():
                break
        self._serving = False
        if self._exchange is None:
            self._settle()
        else:
            self.pace()

    def _feed_rest(self) -> bool:
        """Parse what was kept back; return whether that completed a head."""
        try:
            self._reader.feed(b"")
        except Refused as refusal:
            self._refuse(refusal)
        return bool(self._reader.ready)

    def _begin(self, request: Request) -> None:
        self.state = advance(self.state, Event.REQUEST)
        self._served += 1
        shared = self.shared
        try:
            kind = WebSocketExchange if request.websocket else Exchange
            exchange = kind(self, request)
        except Refused as refusal:
            self._refuse(refusal)
            return
        self._exchange = exchange
        counts = shared.counts
        counts.active += 1
        limit = shared.settings.limit_concurrency
        if limit and counts.active > limit:
            exchange.answer_instead(503, f"{limit} requests at once are the limit here")
            return
        if exchange.is_refused():
            return
        shared.running.add(exchange)
        exchange.task = start_task(shared.loop, exchange.run())

    def exchange_ended(self, exchange: Exchange) -> None:
        """Its answer is complete, or nobody waits for it any more."""
        shared = self.shared
        counts = shared.counts
        counts.active -= 1
        counts.requests += 1
        counts.responses[exchange.status // 100] += 1
        counts.latency.add(exchange.seconds())
        if shared.log is not None:
            shared.log.write(exchange, self.client)
        if self._exchange is not exchange:
            return  # the connection is gone
        self._exchange = None
        if exchange.closes:
            self.farewell()
        elif self._has_more():
            if not self._serving:
                # Not from here: we are inside the application's call of `send`.
                shared.loop.call_soon(self._serve)
        elif not self._serving:
            self._settle()

    def _settle(self) -> None:
        """Nothing is being answered: wait for the client, or say goodbye."""
        state, reader, shared = self.state, self._reader, self.shared
        if state >= State.UPGRADED or reader.ready:
            return
        if self._refusal is not None:
            self._answer_refusal(self._refusal)
            return
        if self._half_closed:
            self.farewell()
            return
        settings, now = shared.settings, shared.loop.time()
        current = reader.current
        if current is None:
            if state is State.SERVING:
                self.state = advance(state, Event.ANSWERED)
                patience = settings.linger if shared.draining else settings.keep_alive
                self.deadline = now + patience
        elif current.method:  # the end of a body that the application did not want
            current.take_body()
            self.deadline = now + settings.body_timeout
        elif state is not State.HEAD:
            event = Event.NEXT if state is State.SERVING else Event.BYTES
            self.state = advance(state, event)
            self.deadline = now + settings.header_timeout
        if not self._is_reading:
            self.resume_reading()

    def _has_more(self) -> bool:
        """Return whether something behind the current request waits for its turn."""
        return bool(self._reader.ready or self._reader.rest)

    # -- pace ----------------------------------------------------------------------

    def pace(self) -> None:
        """Read while there is room for it, and wait only for what is owed to us."""
        exchange, reader = self._exchange, self._reader
        if exchange is None or self.state >= State.UPGRADED:
            return
        request, shared = exchange.request, self.shared
        if request.ended:
            room = len(reader.ready) < _PIPELINED and len(reader.rest) < READ_AHEAD
            owed = False
        else:
            room = request.buffered < READ_AHEAD
            owed = room and not request.expects_continue
        if owed or self.is_write_paused:
            self.deadline = shared.loop.time() + shared.settings.body_timeout
        else:
            self.deadline = inf
        if room is not self._is_reading:
            self.resume_reading() if room else self.pause_reading()

    def pause_reading(self) -> None:
        """Leave what the client sends in the kernel, so that it has to wait."""
        if self._is_reading and self._can_read():
            self._is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends again."""
        if not self._is_reading and self._can_read():
            self._is_reading = True
            self.transport.resume_reading()

    def _can_read(self) -> bool:
        return not (self._half_closed or self.transport.is_closing())

    # -- for the exchange ----------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data`; what the socket does not take is buffered."""
        self.transport.write(data)

    def write_both(self, first: bytes, second: bytes) -> None:
        """Send two pieces without joining them."""
        self.transport.writelines((first, second))

    async def wait_writable(self) -> None:
        """Return when the client has read enough, or is gone."""
        while self.is_write_paused:
            if self._writable is None:
                self._writable = self.shared.loop.create_future()
            await asyncio.shield(self._writable)

    def may_stay_open(self) -> bool:
        """Return whether another request may follow the current one."""
        shared = self.shared
        most = shared.settings.keepalive_requests
        if (
            shared.draining
            or (self._half_closed and not (self._has_more() or self._refusal))
            or (most and self._served >= most)
        ):
            return False
        if shared.shed:
            shared.shed -= 1
            return False
        return True

    def forwarded(self, request: Request) -> tuple[tuple[str, int] | None, str]:
        """Return client and scheme as a trusted proxy tells them."""
        client, scheme = self.client, self.scheme
        if request.forwarded_for is not None:
            client = self.shared.trusted.client_of(request.forwarded_for) or client
        if request.forwarded_proto is not None:
            scheme = scheme_of(request.forwarded_proto, scheme)
        return client, scheme

    # -- the end -------------------------------------------------------------------

    def _refuse(self, refusal: Refused) -> None:
        """Answer it when its turn comes; a request whose body it spoils has it now."""
        exchange, current = self._exchange, self._reader.current
        self._refusal = refusal
        self._reader.ended = True
        self._reader.rest = b""
        if exchange is not None and exchange.request is current:
            exchange.refuse(refusal.status, refusal.detail)
        elif self._reader.ready and self._reader.ready[-1] is current:
            self._reader.ready.pop()  # its body is unusable and nothing of it has run

    def _answer_refusal(self, refusal: Refused) -> None:
        shared = self.shared
        current = self._reader.current
        given = current.request_id if current is not None else None
        request_id = usable_id(given) or shared.new_request_id()
        body = problem(refusal.status, refusal.detail, request_id.decode())
        headers = [(b"content-type", b"application/problem+json")]
        answer = Answer(refusal.status, headers, request_id, to="", close=True)
        self.write(shared.heads.render(answer, len(body), False) + body)
        shared.counts.refused += 1
        shared.counts.responses[refusal.status // 100] += 1
        if shared.log is not None:
            shared.log.write_refusal(refusal, request_id, current, self.client, len(body))
        self.farewell()

    def farewell(self) -> None:
        """The last answer is written; close, but not so that the client cannot read it.

        Closing a socket with unread input makes the kernel send a reset, which
        may overtake the answer. So we say that we are done, and read what the
        client still sends for a moment (RFC 9112 section 9.6).
        """
        reader, transport = self._reader, self.transport
        is_quiet = not (self._refusal or reader.current or reader.ready or reader.rest)
        self.state = advance(self.state, Event.FAREWELL)
        reader.ready.clear()
        reader.ended = True
        self._unsent = transport.get_write_buffer_size()
        self.wait_for(self.shared.settings.body_timeout if self._unsent else _LINGERING)
        if is_quiet or self._half_closed or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        if not self._is_reading:
            self.resume_reading()

    def switched(self) -> bytes:
        """101 is written: from now on frames go to the exchange. Return those here already."""
        self.state = advance(self.state, Event.SWITCHED)
        self.deadline = inf
        rest, self._reader.rest = self._reader.rest, b""
        if not self._is_reading:
            self.resume_reading()
        return rest

    def leave(self) -> None:
        """The server drains: stay for what is owed, linger for what may be on its way.

        A socket that was never used has had its chance if it is older than
        the linger; a request on a younger one may still be travelling.
        """
        settings, now = self.shared.settings, self.shared.loop.time()
        if self.state is State.NEW:
            self.deadline = min(
                self.deadline, self.deadline - settings.keep_alive + settings.linger
            )
        elif self.state is State.IDLE:
            self.deadline = min(self.deadline, now + settings.linger)
        elif self._exchange is not None:
            self._exchange.go_away()

    def look(self) -> None:
        """The deadline has passed: who waits in vain for whom?"""
        transport, unsent = self.transport, self.transport.get_write_buffer_size()
        if unsent and unsent < self._unsent:
            self._unsent = unsent  # slow, but it reads
            self.deadline = self.shared.loop.time() + self.shared.settings.body_timeout
        elif unsent or transport.is_closing() or self.state is State.CLOSING:
            transport.abort()
        elif self.state is State.HEAD:
            self._refuse(Refused(408, "the headers did not come in time (--header-timeout)"))
            self._settle()
        elif self._exchange is not None:
            self._exchange.time_out()
        else:
            transport.close()

    def wait_for(self, seconds: float) -> None:
        """Look at this connection again after `seconds`, unless it moves before."""
        self.deadline = self.shared.loop.time() + seconds

    def describe(self) -> str:
        """Return who and what it is, for a log line."""
        who = f"{self.client[0]}:{self.client[1]}" if self.client else "unix"
        text = f"client={who} state={self.state.name.lower()}"
        if self._exchange is None:
            return text
        request, request_id = self._exchange.request, self._exchange.request_id.decode()
        target = ascii(request.target.decode("latin-1"))
        return f"{text} request_id={request_id} {request.method} {target}"

    def close(self) -> None:
        """Close when everything is written."""
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection: an early end is the only honest answer left."""
        self.transport.abort()
