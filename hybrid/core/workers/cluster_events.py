"""What happens in the cluster: the events, and their way to the subscribers.

The primary publishes them, in one place; `hybrid events`, the leader and the
script that is its own primary subscribe. An event is a plain value: it can be
kept, sent as JSON and compared in a test.

A broken subscriber must not break the cluster: one that raises is reported, and
the other subscribers still get the event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hybrid.core.workers.lifecycle import Leaving


class EventKind(Enum):
    """What happened. The first seven are events of one worker, in the order of its life."""

    FORK = "fork"  # the process exists
    ONLINE = "online"  # it runs its first own line of code
    LISTENING = "listening"  # it takes connections
    READY = "ready"  # application started, pool warm; slot 0: every wanted worker is
    MESSAGE = "message"  # it sent something to the primary
    DRAIN = "drain"  # it takes no more connections and finishes what it has
    EXIT = "exit"  # it was reaped
    LEADER = "leader"  # it is the leader from now on
    RELOAD = "reload"  # a new generation replaces the workers
    ABORTED = "aborted"  # the reload; the old generation stays
    SCALE = "scale"  # another number of workers is wanted
    STOP = "stop"  # the cluster ends


class ExitReason(Enum):
    """How a worker ended; the label of the exit counters."""

    DRAINED = "drained"  # asked to leave, and finished what it had
    FINISHED = "finished"  # a script's worker whose function has returned
    RECYCLED = "recycled"  # the same, because it had reached a limit (requests, age, memory)
    CRASHED = "crashed"  # left by itself: an exception, os._exit, a failed boot
    KILLED = "killed"  # a signal ended it
    HUNG = "hung"  # killed by the primary because its loop did not tick
    OOM = "oom"  # killed by the kernel because there was no memory


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One thing that happened. `slot` 0: it concerns the whole cluster."""

    kind: EventKind
    slot: int
    generation: int
    pid: int
    at: float  # monotonic s
    code: int | None = None  # exit: its code, exactly one of code and signal is set
    signal: int | None = None  # exit: the signal that ended it
    reason: str = ""  # exit: an ExitReason; drain: why it leaves
    text: str = ""  # one line for a reader
    body: Any = None  # message: what the worker sent, JSON values

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON values."""
        fields: dict[str, Any] = {
            "kind": self.kind.value,
            "slot": self.slot,
            "generation": self.generation,
            "pid": self.pid,
            "at": round(self.at, 6),
        }
        for name in ("code", "signal", "body"):
            if getattr(self, name) is not None:
                fields[name] = getattr(self, name)
        for name in ("reason", "text"):
            if getattr(self, name):
                fields[name] = getattr(self, name)
        return fields


Subscriber = Callable[[ClusterEvent], object]


class EventPublisher:
    """Calls every subscriber with every event."""

    def __init__(self, on_error: Callable[[Subscriber, Exception], object]) -> None:
        """Report a subscriber that raises to `on_error`."""
        self.subscribers: list[Subscriber] = []
        self._on_error = on_error

    def publish(self, event: ClusterEvent) -> None:
        """Call the subscribers, in the order in which they subscribed."""
        for subscriber in tuple(self.subscribers):  # a call may change the list
            try:
                subscriber(event)
            except Exception as ex:
                self._on_error(subscriber, ex)


# What exit code 0 means, by why the worker was asked to leave.
_AFTER_CODE_0 = {
    Leaving.RELOAD: ExitReason.DRAINED,
    Leaving.SCALE: ExitReason.DRAINED,
    Leaving.STOP: ExitReason.DRAINED,
    Leaving.DRAIN: ExitReason.DRAINED,
    Leaving.DISCONNECT: ExitReason.DRAINED,
    Leaving.TERM: ExitReason.DRAINED,
    Leaving.RECYCLE: ExitReason.RECYCLED,
}


def exit_reason(
    asked: Leaving | None,
    code: int | None,
    *,
    may_return: bool = False,
    hung: bool = False,
    out_of_memory: bool = False,
) -> ExitReason:
    """Return how a worker ended.

    Args:
        asked: why it was ordered to leave; None: it was not.
        code: its exit code; None: a signal ended it.
        may_return: its work is a function of a script, which may return.
        hung: the primary killed it because its loop did not tick.
        out_of_memory: the kernel has counted one more out-of-memory kill.
    """
    if code is None:
        if hung:
            return ExitReason.HUNG
        return ExitReason.OOM if out_of_memory else ExitReason.KILLED
    if code != 0:
        return ExitReason.CRASHED
    if asked is None:
        return ExitReason.FINISHED if may_return else ExitReason.CRASHED
    return _AFTER_CODE_0[asked]
