"""What may be asked of the primary over its control socket, and when it is answered.

One JSON object a frame. The first answer to a request that takes time says what
is being done; after every event the request is compared with the supervisor's
records, until it has an outcome. Nothing here touches a socket.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from hybrid.core.messages.fields import field_types, wrong_field
from hybrid.core.workers.lifecycle import WorkerState
from hybrid.core.workers.roster import WorkerRecord
from hybrid.core.workers.supervision import Supervisor
from hybrid.errors import LinkError


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Every worker and counter, once."""


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """What happens from now on, until the client closes its connection."""


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """Read the configuration again and replace every worker."""


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    """`by` workers more (or fewer), or exactly `to`."""

    by: int = 0
    to: int | None = None


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """Replace one slot's worker, the new one ready first."""

    slot: int


@dataclass(frozen=True, slots=True)
class StopRequest:
    """End the cluster; `now`: without finishing anything."""

    now: bool = False


ControlRequest = (
    StatusRequest | EventsRequest | ReloadRequest | ScaleRequest | DrainRequest | StopRequest
)

_BY_NAME: dict[str, type[ControlRequest]] = {
    "status": StatusRequest,
    "events": EventsRequest,
    "reload": ReloadRequest,
    "scale": ScaleRequest,
    "drain": DrainRequest,
    "stop": StopRequest,
}
_NAMES = {kind: name for name, kind in _BY_NAME.items()}
_FIELDS = {kind: field_types(kind) for kind in _NAMES}


def encode(request: ControlRequest) -> bytes:
    """Return a request as one frame's payload."""
    return orjson.dumps({"ask": _NAMES[type(request)]} | dataclasses.asdict(request))


def decode(payload: bytes) -> ControlRequest:
    """Return the request in a frame.

    Raises:
        LinkError: it is not a request; names those that exist.
    """
    try:
        fields = orjson.loads(payload)
        request = _BY_NAME[fields.pop("ask")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        request = None
    if request is None or wrong_field(request, _FIELDS[type(request)]) is not None:
        known = ", ".join(_BY_NAME)
        raise LinkError(f'not a request: {payload[:80]!r}; "ask" one of {known}')
    return request


# -- requests that take time -------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How a request ended."""

    done: bool
    text: str


class PendingRequest(Protocol):
    """A request that has been accepted and is not done yet."""

    def progress(self, supervisor: Supervisor) -> str:
        """Return how far it is, in one line."""
        ...

    def outcome(self, supervisor: Supervisor) -> RequestOutcome | None:
        """Return how it ended; None: it has not."""
        ...


@dataclass(frozen=True, slots=True)
class PendingReload:
    """Every slot has a ready worker of this generation or a later one."""

    generation: int

    def progress(self, supervisor: Supervisor) -> str:
        """Return how many workers have been replaced."""
        wanted = supervisor.generations.wanted
        ready = [w for w in _ready(supervisor) if w.generation == wanted]
        return f"{len(ready)} of {supervisor.target} workers are of generation {wanted}"

    def outcome(self, supervisor: Supervisor) -> RequestOutcome | None:
        """Return the reload's outcome, or that of a later reload that took its place."""
        outcome = supervisor.generations.outcome
        if outcome is not None and outcome.generation >= self.generation:
            return RequestOutcome(outcome.done, outcome.text)
        return _interrupted(supervisor)


@dataclass(frozen=True, slots=True)
class PendingScale:
    """`target` ready workers, and no surplus."""

    target: int

    def progress(self, supervisor: Supervisor) -> str:
        """Return how many workers are ready."""
        ready, leaving = _ready(supervisor), len(supervisor.workers) - len(_ready(supervisor))
        other = f", {leaving} starting or draining" if leaving else ""
        return f"{len(ready)} workers ready of {self.target}{other}"

    def outcome(self, supervisor: Supervisor) -> RequestOutcome | None:
        """Return that the number is reached, or why it will not be."""
        if supervisor.target != self.target:
            return RequestOutcome(False, f"overtaken: {supervisor.target} workers are wanted now")
        ready = {w.slot for w in _ready(supervisor)}
        if ready == set(range(1, self.target + 1)) == {w.slot for w in supervisor.workers.values()}:
            return RequestOutcome(True, f"{self.target} workers are ready")
        for number in sorted(set(range(1, self.target + 1)) - ready):
            slot = supervisor.restarts.slots.get(number)
            if slot is not None and slot.failures:
                return RequestOutcome(False, f"slot {number} cannot be filled: {slot.failure}")
        return _too_slow(supervisor, range(1, self.target + 1)) or _interrupted(supervisor)


@dataclass(frozen=True, slots=True)
class PendingDrain:
    """This worker has finished and left, and its slot has another."""

    worker: int
    slot: int
    failures: int = field(default=0)  # of the slot when the request was made

    def progress(self, supervisor: Supervisor) -> str:
        """Return the worker's state."""
        worker = supervisor.workers.get(self.worker)
        if worker is None:
            return "it has left"
        if worker.state is WorkerState.DRAINING:
            return "its successor is ready; it finishes what it has"
        return "its successor is starting"

    def outcome(self, supervisor: Supervisor) -> RequestOutcome | None:
        """Return that another worker serves in its place, or why none does."""
        if self.slot > supervisor.target:
            return RequestOutcome(True, f"slot {self.slot} is not needed any more")
        if self.worker not in supervisor.workers and any(
            worker.slot == self.slot for worker in _ready(supervisor)
        ):
            return RequestOutcome(True, f"slot {self.slot} has a new worker")
        slot = supervisor.restarts.slots[self.slot]
        if slot.failures > self.failures:
            return RequestOutcome(False, f"slot {self.slot} has no new worker: {slot.failure}")
        return _too_slow(supervisor, (self.slot,)) or _interrupted(supervisor)


def _ready(supervisor: Supervisor) -> list[WorkerRecord]:
    return [w for w in supervisor.workers.values() if w.state is WorkerState.READY]


def _too_slow(supervisor: Supervisor, slots: Container[int]) -> RequestOutcome | None:
    for worker in supervisor.workers.values():
        if worker.late and worker.state is WorkerState.STARTING and worker.slot in slots:
            return RequestOutcome(
                False, f"{worker} is not ready in time (--boot-timeout); it goes on"
            )
    return None


def _interrupted(supervisor: Supervisor) -> RequestOutcome | None:
    return RequestOutcome(False, "the cluster is stopping") if supervisor.stopping else None


def answer(kind: str, **fields: Any) -> bytes:
    """Return an answer of the primary as one frame's payload."""
    return orjson.dumps({"answer": kind, **fields})
