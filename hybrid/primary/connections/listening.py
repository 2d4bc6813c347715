"""Which process holds which listening socket, by scheduling policy.

    shared                      every worker inherits every listener
    reuseport                   a worker inherits the listeners of its slot
    round-robin, least-loaded   no worker inherits any; the primary accepts

The primary keeps every socket, whatever the policy: a slot whose worker dies
keeps its listener, and connections queued there wait for the next worker.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from hybrid.core.connections.handoff_queue import Policy
from hybrid.errors import ConfigError
from hybrid.system.sockets.listeners import Listener, sibling

MOST_SOCKETS = 250  # one message to the last acceptor carries them all; the kernel takes 253


class Listening:
    """The cluster's listening sockets."""

    def __init__(self, listeners: Sequence[Listener], policy: Policy, workers: int) -> None:
        """Bind what `workers` slots need.

        Raises:
            ConfigError: there are more sockets than one message can carry.
            OSError: a slot's socket cannot be bound.
        """
        self.policy = policy
        self._first = tuple(listeners)
        self._of_slot: dict[int, tuple[Listener, ...]] = {}
        if policy is Policy.REUSEPORT:
            sockets = workers * len(self._first)
            if sockets > MOST_SOCKETS:
                raise ConfigError(
                    f"--scheduling reuseport: {workers} workers × {len(self._first)} addresses "
                    f"need {sockets} sockets, and at most {MOST_SOCKETS} are possible"
                )
            self._of_slot[1] = self._first
            for slot in range(2, workers + 1):
                self.of_slot(slot)

    @property
    def handed_over(self) -> bool:
        """Whether the primary accepts."""
        return self.policy in (Policy.ROUND_ROBIN, Policy.LEAST_LOADED)

    def of_slot(self, slot: int) -> tuple[Listener, ...]:
        """Return the listeners that the worker of a slot inherits; binds those of a new slot.

        Raises:
            OSError: the new slot's socket cannot be bound.
        """
        if self.handed_over:
            return ()
        if self.policy is Policy.SHARED:
            return self._first
        if slot not in self._of_slot:
            self._of_slot[slot] = tuple(sibling(listener) for listener in self._first)
        return self._of_slot[slot]

    def retire(self, slot: int) -> None:
        """Close the primary's copies of the sockets of a slot that is not wanted any more.

        The slot's worker then holds the last copies; it accepts what is queued before
        it closes them. Connections that the kernel queues in between are reset, and so
        are those still in the TCP handshake (none on loopback; over a network those of
        one round trip, unless ``net.ipv4.tcp_migrate_req`` is 1). With the other policies
        slots share their sockets, and nothing is lost.
        """
        for listener in self._of_slot.pop(slot, ()):
            listener.close()

    def all(self) -> list[socket.socket]:
        """Return every socket."""
        groups = list(self._of_slot.values()) or [self._first]
        return [listener.sock for group in groups for listener in group]

    def close(self) -> None:
        """Close every socket; the port is free once no worker has a copy."""
        for listener in (*self._first, *(x for group in self._of_slot.values() for x in group)):
            listener.close()

    def __enter__(self) -> Listening:
        """Close every socket at the end of the ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
