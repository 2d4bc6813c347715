"""What the primary and a worker tell each other.

JSON on the control link, one object per frame: ``{"type": "drain", …}``. Small
and rare, so that readability is worth more than bytes. Arrays never travel here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import orjson

from hybrid.errors import LinkError

# -- a worker says -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Online:
    """The process runs; its application is not loaded yet."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The application is loaded and started, the warm slots are ready."""


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker is about to exit without ever having been ready."""

    kind: str  # "import": the application cannot be imported; "startup": it refused to start
    text: str  # what an operator has to read, with the traceback where there is one


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker asks to be replaced and drained."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeftDistribution:
    """The worker accepts nothing more; what it has accepted it will finish."""


@dataclass(frozen=True, slots=True)
class QueueEmptied:
    """The last acceptor found no more connection in the backlog."""


@dataclass(frozen=True, slots=True)
class Hatch:
    """The worker's pool wants a pool process; only the primary forks."""

    request: int


# -- the primary says --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop accepting, finish what is there, exit."""

    grace: float  # seconds
    final: bool  # the whole cluster stops: empty the backlog first
    reason: str = ""  # why, for the application's hooks


@dataclass(frozen=True, slots=True)
class ListenersClosed:
    """The primary's own copy of the listeners is closed; the worker's is the last."""


@dataclass(frozen=True, slots=True)
class Hatched:
    """Here is the pool process; its socket and its pidfd ride on this frame."""

    request: int
    pid: int


@dataclass(frozen=True, slots=True)
class HatchRefused:
    """The pool process could not be forked."""

    request: int
    reason: str


Message = (
    Online
    | Ready
    | BootFailed
    | Leave
    | LeftDistribution
    | QueueEmptied
    | Hatch
    | Drain
    | ListenersClosed
    | Hatched
    | HatchRefused
)

_BY_NAME: dict[str, type[Message]] = {
    "online": Online,
    "ready": Ready,
    "boot-failed": BootFailed,
    "leave": Leave,
    "left-distribution": LeftDistribution,
    "queue-emptied": QueueEmptied,
    "hatch": Hatch,
    "drain": Drain,
    "listeners-closed": ListenersClosed,
    "hatched": Hatched,
    "hatch-refused": HatchRefused,
}
_NAMES = {kind: name for name, kind in _BY_NAME.items()}


def encode(message: Message) -> bytes:
    """Return a message as one frame's payload."""
    return orjson.dumps({"type": _NAMES[type(message)]} | dataclasses.asdict(message))


def decode(payload: bytes) -> Message:
    """Return the message in a frame.

    Raises:
        LinkError: it is none of ours: no JSON object, an unknown type, or
            other fields than the type has.
    """
    try:
        fields = orjson.loads(payload)
        kind = _BY_NAME[fields.pop("type")]
        return kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as ex:
        raise LinkError(f"not a control message: {payload[:80]!r}") from ex
