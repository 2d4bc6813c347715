"""The life of one connection.

Rule 1: every change of a connection's state goes through `advance`.
Rule 2: this module does no I/O and reads no clock.

`mermaid()` draws the table; the document that shows it is compared with it.
"""

from __future__ import annotations

from enum import IntEnum

from hybrid.errors import IllegalTransition


class ConnectionState(IntEnum):
    """Where a connection is in its life.

    Integers, so that states can be compared by their order (`state < UPGRADED`),
    and because the table is read once or twice per request: the hash of an Enum
    is a Python call, 0.1 µs.

    Reading a member from its class (`ConnectionState.IDLE`) also costs 0.1 µs on
    Python 3.11, where a module's own name costs 0.01. A request compares some
    fifteen times, so modules that serve requests keep such names.
    """

    NEW = 0  # accepted; the client has sent nothing
    HEAD = 1  # part of a request head has come
    SERVING = 2  # at least one request has no complete answer
    IDLE = 3  # every request is answered; the client may send another
    UPGRADED = 4  # the bytes are WebSocket frames, not HTTP
    CLOSING = 5  # the last answer is written; what the client still sends is thrown away
    CLOSED = 6  # the transport is closed


class Event(IntEnum):
    """What can happen to a connection."""

    BYTES = 0  # the beginning of a head came, its end did not
    REQUEST = 1  # a head is complete and waits for its answer
    ANSWERED = 2  # the last answer owed is complete; the connection stays open
    NEXT = 3  # the same, and a part of the next head has come
    FAREWELL = 4  # an answer is complete that ends the connection
    SWITCHED = 5  # 101 is written
    LOST = 6  # the transport is closed, by the client, the server or an error


TRANSITIONS: dict[ConnectionState, dict[Event, ConnectionState]] = {
    ConnectionState.NEW: {
        Event.BYTES: ConnectionState.HEAD,
        Event.REQUEST: ConnectionState.SERVING,
        Event.FAREWELL: ConnectionState.CLOSING,  # malformed from the first bytes on
        Event.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.HEAD: {
        Event.BYTES: ConnectionState.HEAD,
        Event.REQUEST: ConnectionState.SERVING,
        Event.FAREWELL: ConnectionState.CLOSING,  # 400, 408, 414, 431
        Event.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.SERVING: {
        Event.BYTES: ConnectionState.SERVING,  # the head of a pipelined request
        Event.REQUEST: ConnectionState.SERVING,  # a pipelined request; it waits for its turn
        Event.ANSWERED: ConnectionState.IDLE,
        Event.NEXT: ConnectionState.HEAD,
        Event.FAREWELL: ConnectionState.CLOSING,
        Event.SWITCHED: ConnectionState.UPGRADED,
        Event.LOST: ConnectionState.CLOSED,  # the client left before its answer
    },
    ConnectionState.IDLE: {
        Event.BYTES: ConnectionState.HEAD,
        Event.REQUEST: ConnectionState.SERVING,
        Event.FAREWELL: ConnectionState.CLOSING,
        Event.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.UPGRADED: {
        Event.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSING: {
        Event.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSED: {},
}


def advance(state: ConnectionState, event: Event) -> ConnectionState:
    """Return the state that follows `state` on `event`.

    Raises:
        IllegalTransition: the table has no such entry. That is a bug in the
            connection, never an operating condition, so nothing catches it.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.name} while {state.name}") from None


def mermaid() -> str:
    """Return TRANSITIONS as a Mermaid state diagram."""
    edges = [
        f"    {state.name.lower()} --> {after.name.lower()}: {event.name.lower()}"
        for state, row in TRANSITIONS.items()
        for event, after in row.items()
    ]
    return "\n".join(["stateDiagram-v2", *edges])


if __name__ == "__main__":
    print(mermaid())
