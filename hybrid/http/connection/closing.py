"""How a connection ends: with a refusal, with its last answer, or with the client's departure.

Functions of their own, because none of them runs while all is well.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

from hybrid.http.answer.answer import Answer
from hybrid.http.connection.connection_states import ConnectionState, Event, advance
from hybrid.http.exchange.client_connection import ClientConnection
from hybrid.http.exchange.exchange import Exchange
from hybrid.http.problem import PROBLEM_JSON, problem, usable_id
from hybrid.http.request.reader import RequestReader
from hybrid.http.request.refusal import Refused

_LINGERING = 2.0  # s after the last answer, while what the client still sends is thrown away


class EndingConnection(ClientConnection, Protocol):
    """What ends a connection needs of it, beyond what an exchange does."""

    state: ConnectionState
    reader: RequestReader
    exchange: Exchange | None
    refusal: Refused | None
    half_closed: bool

    def resume_writing(self) -> None: ...  # noqa: D102


def refuse(connection: EndingConnection, refusal: Refused) -> None:
    """Read no more; answer in the request's turn, or now if it is the one being answered."""
    exchange, reader = connection.exchange, connection.reader
    # Its traceback holds every frame of the parsing, and so all that the client has sent.
    refusal.__traceback__ = refusal.__context__ = None
    connection.refusal = refusal
    reader.ended = True
    reader.rest = b""
    if exchange is not None and exchange.request is reader.current:
        exchange.refuse(refusal.status, refusal.detail)
    elif reader.ready and reader.ready[-1] is reader.current:
        reader.ready.pop()  # its body is unusable and nothing of it has run


def answer_refusal(connection: EndingConnection, refusal: Refused) -> None:
    """Answer without an exchange: the application has not seen this request."""
    shared, current = connection.shared, connection.reader.current
    given = current.request_id if current is not None else None
    request_id = usable_id(given) or shared.new_request_id()
    title = HTTPStatus(refusal.status).phrase
    body = problem(refusal.status, title, refusal.detail, request_id)
    headers = [(b"content-type", PROBLEM_JSON.encode())]
    answer = Answer(refusal.status, headers, request_id, to="", close=True)
    connection.write_all(answer.first(shared.heads, body, False))
    shared.counts.responses[refusal.status // 100] += 1
    if shared.log is not None:
        shared.log.write_refusal(refusal, request_id, current, connection.client, len(body))
    linger_and_close(connection)


def linger_and_close(connection: EndingConnection) -> None:
    """Close after the last answer, but not so that the client cannot read it.

    Closing a socket with unread input makes the kernel send a reset. The reset
    may overtake the answer, and then the client throws away what it has not
    read yet. So the writing side is closed first, and what the client still
    sends is read and thrown away for a moment (RFC 9112 section 9.6). A client
    that has sent nothing since its request cannot lose anything: that
    connection is closed at once.
    """
    reader, transport = connection.reader, connection.transport
    is_quiet = not (connection.refusal or reader.current or reader.ready or reader.rest)
    connection.state = advance(connection.state, Event.FAREWELL)
    reader.finish()
    connection.release()
    connection.unsent = transport.get_write_buffer_size()
    settings = connection.shared.settings
    connection.set_deadline(settings.body_timeout if connection.unsent else _LINGERING)
    if is_quiet or connection.half_closed or not transport.can_write_eof():
        transport.close()
        return
    transport.write_eof()
    connection.resume_reading()


def abandon_answers(connection: EndingConnection) -> None:
    """Give no further answers to a client that has left, but send what is already written.

    The end of its input is all that most clients say when they leave: a
    killed program, a closed tab. What it has asked for is stopped now, and not
    when the transport has written the earlier answers: perhaps no one reads them.
    """
    exchange, connection.exchange = connection.exchange, None
    linger_and_close(connection)
    connection.resume_writing()  # an application that waits for a slow reader waits no more
    if exchange is not None:
        exchange.lose_client()
