"""How a connection ends: refused, said goodbye to, too slow, or drained.

Functions of their own, because none of them runs while all is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hybrid.http.answer.answer import Answer
from hybrid.http.connection.connection_states import ConnectionState, Event, advance
from hybrid.http.request.refusal import Refused, problem, usable_id

if TYPE_CHECKING:
    from hybrid.http.connection.connection import Dialogue

_LINGERING = 2.0  # s, after the last answer, in which what the client still sends is thrown away


def refuse(connection: Dialogue, refusal: Refused) -> None:
    """Read no more; answer when its turn comes, or now if it spoils the current body."""
    exchange, reader = connection.exchange, connection.reader
    # Its traceback holds every frame of the parsing, and so what the client has sent.
    refusal.__traceback__ = refusal.__context__ = None
    connection.refusal = refusal
    reader.ended = True
    reader.rest = b""
    if exchange is not None and exchange.request is reader.current:
        exchange.refuse(refusal.status, refusal.detail)
    elif reader.ready and reader.ready[-1] is reader.current:
        reader.ready.pop()  # its body is unusable and nothing of it has run


def answer_refusal(connection: Dialogue, refusal: Refused) -> None:
    """Answer in nobody's name: the application has not seen this request."""
    shared, current = connection.shared, connection.reader.current
    given = current.request_id if current is not None else None
    request_id = usable_id(given) or shared.new_request_id()
    body = problem(refusal.status, refusal.detail, request_id)
    headers = [(b"content-type", b"application/problem+json")]
    answer = Answer(refusal.status, headers, request_id, to="", close=True)
    connection.write_all(answer.first(shared.heads, body, False))
    shared.counts.refused += 1
    shared.counts.responses[refusal.status // 100] += 1
    if shared.log is not None:
        shared.log.write_refusal(refusal, request_id, current, connection.client, len(body))
    farewell(connection)


def farewell(connection: Dialogue) -> None:
    """The last answer is written; close, but not so that the client cannot read it.

    Closing a socket with unread input makes the kernel send a reset, which
    may overtake the answer. So we say that we are done, and read what the
    client still sends for a moment (RFC 9112 section 9.6).
    """
    reader, transport = connection.reader, connection.transport
    is_quiet = not (connection.refusal or reader.current or reader.ready or reader.rest)
    connection.state = advance(connection.state, Event.FAREWELL)
    reader.finish()
    connection.release()
    connection.unsent = transport.get_write_buffer_size()
    settings = connection.shared.settings
    connection.wait_for(settings.body_timeout if connection.unsent else _LINGERING)
    if is_quiet or connection.half_closed or not transport.can_write_eof():
        transport.close()
        return
    transport.write_eof()
    connection.resume_reading()


def let_go(connection: Dialogue) -> None:
    """The client has left while answers are owed: give none, but let what is written go out.

    The end of its input is all that most clients say when they leave: a
    killed program, a closed tab. What it has asked for is stopped now, not when
    the transport has written the answers before, which may never be read.
    """
    exchange, connection.exchange = connection.exchange, None
    farewell(connection)
    connection.resume_writing()  # an application that waits for a slow reader waits no more
    if exchange is not None:
        exchange.depart()


def leave(connection: Dialogue) -> None:
    """The server drains: stay for what is owed, linger for what may be on its way.

    A socket that was never used has had its chance if it is older than the
    linger; a request on a younger one may still be travelling.
    """
    settings = connection.shared.settings
    if connection.state is ConnectionState.NEW:
        accepted_at = connection.deadline - settings.keep_alive
        connection.deadline = min(connection.deadline, accepted_at + settings.linger)
    elif connection.state is ConnectionState.IDLE:
        connection.deadline = min(connection.deadline, connection.shared.now + settings.linger)
    elif connection.exchange is not None:
        connection.exchange.go_away()


def look(connection: Dialogue) -> None:
    """The deadline has passed: who waits in vain for whom?"""
    transport = connection.transport
    if connection.state is ConnectionState.UPGRADED and connection.exchange is not None:
        connection.exchange.time_out()
        return
    unsent = transport.get_write_buffer_size()
    if unsent and unsent < connection.unsent:
        connection.unsent = unsent  # slow, but it reads
        connection.wait_for(connection.shared.settings.body_timeout)
    elif unsent or transport.is_closing() or connection.state is ConnectionState.CLOSING:
        connection.abort()
    elif connection.state is ConnectionState.HEAD:
        refuse(connection, Refused(408, "the headers did not come in time (--header-timeout)"))
        connection.settle()
    elif connection.exchange is not None:
        connection.exchange.time_out()
    else:
        connection.close()


def describe(connection: Dialogue) -> str:
    """Return who and what a connection is, for a log line."""
    client, exchange = connection.client, connection.exchange
    who = f"{client[0]}:{client[1]}" if client else "unix"
    text = f"client={who} state={connection.state.name.lower()}"
    if exchange is None:
        return text
    request = exchange.request
    target = ascii(request.target.decode("latin-1"))
    return f"{text} request_id={exchange.request_id} {request.method} {target}"
