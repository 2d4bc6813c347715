"""The messages between the primary and a worker.

JSON on the control link, one object per frame: ``{"type": "drain", …}``. They are
small and rare, so readability is worth more than bytes. Arrays never travel here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, get_type_hints

import orjson

from hybrid.core.messages.fields import field_types, wrong_field
from hybrid.core.workers.lifecycle import Leaving
from hybrid.errors import LinkError

BOOT_FAILURE_LIMIT = 32_000  # bytes of JSON; half a frame of the link

# -- a worker sends ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Online:
    """The process runs; its application is not loaded yet."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The application is loaded and started, the warm slots are ready."""

    listening: bool = True  # False: a script's worker that takes messages, not connections


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker is about to exit without ever having been ready."""

    kind: str  # "import": the application cannot be imported; "startup": it raised at its start
    text: str  # why; with the traceback where there is one


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker asks to be replaced and drained."""

    leaving: Leaving
    text: str = ""  # the reason in words; empty: the value of `leaving`


@dataclass(frozen=True, slots=True)
class LeftDistribution:
    """The worker accepts no more connections; it will finish those that it has."""


@dataclass(frozen=True, slots=True)
class QueueEmptied:
    """The last acceptor has emptied the backlog."""


@dataclass(frozen=True, slots=True)
class ForkPoolProcess:
    """The worker's pool wants a pool process; only the primary forks."""

    request: int


@dataclass(frozen=True, slots=True)
class LeadGivenUp:
    """The worker has stepped down as leader; another one may be appointed."""


# -- both send ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mail:
    """A message of the application; see `hybrid.core.messages.mail`."""

    kind: str  # a MailKind
    number: int  # the requester's; its receipt and its reply carry it
    to: int | str  # a slot, "primary", "all", "leader"; "" for an answer
    body: Any  # JSON values
    sender: int = 0  # slot, filled in by the primary; 0: the primary
    origin: int = 0  # id of the worker an answer goes to, filled in by the primary; 0: the primary


# -- the primary sends -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message that a worker sent."""

    number: int
    reached: list[int]  # slots it is on its way to; 0: the primary
    full: list[int] = field(default_factory=list)  # slots for which too much waits already
    missing: str = ""  # its addressee, if there is no such worker
    waiting: int = 0  # bytes for the slowest of `full`
    final: bool = False  # no reply follows


@dataclass(frozen=True, slots=True)
class Lead:
    """Be the leader from now on, or step down and confirm."""

    leads: bool


@dataclass(frozen=True, slots=True)
class EventHappened:
    """An event of the cluster; for the leader."""

    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop accepting, finish all requests and jobs, exit."""

    grace: float  # seconds
    final: bool  # the whole cluster stops: empty the backlog first
    reason: str = ""  # why, for the application's hooks


@dataclass(frozen=True, slots=True)
class ListenersClosed:
    """The primary's own copy of the listeners is closed; the worker's is the last."""


@dataclass(frozen=True, slots=True)
class PoolProcessForked:
    """The pool process was forked; its socket and its pidfd arrive with this frame."""

    request: int
    pid: int


@dataclass(frozen=True, slots=True)
class ForkRefused:
    """The pool process could not be forked."""

    request: int
    reason: str


Message = (
    LeadGivenUp
    | Mail
    | Receipt
    | Lead
    | EventHappened
    | Online
    | Ready
    | BootFailed
    | Leave
    | LeftDistribution
    | QueueEmptied
    | ForkPoolProcess
    | Drain
    | ListenersClosed
    | PoolProcessForked
    | ForkRefused
)

_BY_NAME: dict[str, type[Message]] = {
    "lead-given-up": LeadGivenUp,
    "mail": Mail,
    "receipt": Receipt,
    "lead": Lead,
    "event": EventHappened,
    "online": Online,
    "ready": Ready,
    "boot-failed": BootFailed,
    "leave": Leave,
    "left-distribution": LeftDistribution,
    "queue-emptied": QueueEmptied,
    "fork-pool-process": ForkPoolProcess,
    "drain": Drain,
    "listeners-closed": ListenersClosed,
    "pool-process-forked": PoolProcessForked,
    "fork-refused": ForkRefused,
}
_NAMES = {kind: name for name, kind in _BY_NAME.items()}
_FIELDS = {kind: field_types(kind) for kind in _NAMES}
_ENUMS = {  # by message, its fields that are members of an Enum
    kind: {
        name: hint
        for name, hint in get_type_hints(kind).items()
        if isinstance(hint, type) and issubclass(hint, Enum)
    }
    for kind in _NAMES
}


def encode(message: Message) -> bytes:
    """Return a message as one frame's payload."""
    kind = type(message)
    fields = {name: getattr(message, name) for name in kind.__dataclass_fields__}
    return orjson.dumps({"type": _NAMES[kind], **fields})


def decode(payload: bytes) -> Message:
    """Return the message in a frame.

    Raises:
        LinkError: it is not a JSON object, its type is unknown, or its fields are
            not those of the type. So the receiver of a message may rely on its
            fields: a broken worker must not break the primary.
    """
    try:
        fields = orjson.loads(payload)
        kind = _BY_NAME[fields.pop("type")]
        for name, enum in _ENUMS[kind].items():
            fields[name] = enum(fields[name])
        message = kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as ex:
        raise LinkError(f"not a control message: {payload[:80]!r}") from ex
    wrong = wrong_field(message, _FIELDS[kind])
    if wrong is not None:
        raise LinkError(f"not a control message, {wrong} is wrong: {payload[:80]!r}")
    return message
