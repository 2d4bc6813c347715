"""Messages between workers, and between workers and the primary: which worker gets one.

The primary carries them: a worker has no link to another worker. A message is
small JSON. It is either on its way or refused with a typed error at its sender;
it is never dropped in silence, and never makes the primary wait for a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from hybrid.errors import FrameTooLarge

BODY_LIMIT = 64 * 1024  # bytes of JSON; data travels in arrays or through a store
OUTBOX_LIMIT = 1024 * 1024  # bytes that may wait for one reader; above it sending is refused
FAILURE_LIMIT = 2000  # characters of the text why there is no reply

PRIMARY = "primary"
ALL = "all"
LEADER = "leader"


class MailKind(Enum):
    """What a message asks for."""

    SEND = "send"  # nothing; its sender gets a receipt
    REQUEST = "request"  # an answer
    REPLY = "reply"  # it is the answer
    FAILURE = "failure"  # there is no answer; the body says why
    PING = "ping"  # an answer from hybrid itself; no handler is called


@dataclass(frozen=True, slots=True)
class Addressee:
    """A worker that can get messages."""

    worker: int  # id
    slot: int
    is_leader: bool


def recipients(to: object, sender: int, members: Sequence[Addressee]) -> list[Addressee]:
    """Return the workers that a message is for.

    Args:
        to: a slot number, "all" (every worker but the sender) or "leader".
        sender: the sending worker's id; 0: the primary.
        members: the ready workers, oldest first. While one is replaced a slot has
            two of them; then the newer one gets what is for the slot.
    """
    if to == ALL:
        return [member for member in members if member.worker != sender]
    if to == LEADER:
        return [member for member in members if member.is_leader]
    return [member for member in members if member.slot == to][-1:]


def pack_body(body: Any) -> orjson.Fragment:
    """Return a body as JSON, encoded once for all its receivers.

    Raises:
        FrameTooLarge: over 64 KiB; nothing was sent.
        TypeError: not JSON: orjson writes str, int, float, bool, None, list,
            tuple, dict with str keys, dataclasses, datetimes and UUIDs.
    """
    packed = orjson.dumps(body)
    if len(packed) > BODY_LIMIT:
        raise FrameTooLarge(len(packed), BODY_LIMIT)
    return orjson.Fragment(packed)
