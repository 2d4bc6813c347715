"""The control socket: other programs ask, the primary answers. Runs in its loop.

Rule 1: the primary never waits for a client. Answers that a client does not read
        are kept up to a limit; above it the client is dropped.
Rule 2: a request becomes an event for the supervisor, like a signal; one that
        takes time is compared with the supervisor's records after every event.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid.core.messages import control_messages as c
from hybrid.core.workers import events as e
from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.supervision import Supervisor
from hybrid.errors import ConfigError, FrameTooLarge, LinkError
from hybrid.primary.workers.process_table import ProcessTable
from hybrid.system.memory.permits import PermitTable
from hybrid.system.scoreboard.scoreboard import Scoreboard
from hybrid.system.scoreboard.snapshot import cluster
from hybrid.system.sockets.channel import Channel
from hybrid.system.sockets.listeners import BACK_OFF, accept
from hybrid.system.sockets.runtime_directory import listen_at

# -- The answer to `hybrid status`: the scoreboard, and what only the primary knows ---


def cluster_status(
    supervisor: Supervisor,
    processes: ProcessTable,
    scoreboard: Scoreboard,
    permits: PermitTable | None,
    facts: dict[str, object],
) -> dict[str, Any]:
    """Return the status as plain data. Some 50 µs per worker; no message to any of them."""
    status = cluster(scoreboard, facts, time.monotonic())
    generations = supervisor.generations
    status["primary"] |= {
        "phase": supervisor.phase.value,
        "generation": generations.wanted,
        "workers_wanted": supervisor.target,
        "workers_most": supervisor.most,
    }
    if permits is not None:
        status["permits"] = {
            "limit": permits.permits,
            "in_use": permits.in_use(),
            "abandoned": sum(w["pool"]["abandoned_permits"] for w in status["workers"]),
        }
    by_pid = {handle.pid: handle for handle in processes.workers.values()}
    for row in status["workers"]:
        handle = by_pid.get(row["pid"])
        if handle is not None and handle.id in supervisor.workers:
            worker = supervisor.workers[handle.id]
            row["latency_counts"] = scoreboard.row(handle.row).counts("latency").tolist()
            row["leaving"] = worker.reason or None
            row["accepting"] = worker.accepting and row["state"] == "ready"
            row["restarts"] = supervisor.restarts.slots[worker.slot].restarts
            row["pool"]["pids"] = sorted(handle.pool_processes)
    return status


logger = logging.getLogger("hybrid.error")

CLIENTS = 32  # at once; a `hybrid top` per terminal and some scripts
FRAME_LIMIT = 1024 * 1024  # bytes; a status of 512 workers has some 400 kB
UNREAD_LIMIT = 4 * FRAME_LIMIT  # bytes kept for a client that does not read


@dataclass(frozen=True, slots=True)
class ControlPort:
    """The calls into the primary that the control server may make."""

    supervisor: Supervisor
    handle: Callable[[e.Event], None]  # passes an event to the supervisor
    reload: Callable[[], int]  # returns the new generation; ConfigError: nothing has changed
    status: Callable[[], dict[str, Any]]


@dataclass(slots=True, eq=False)
class _Client:
    channel: Channel
    pending: c.PendingRequest | None = None  # that takes time
    progress: str = ""  # of it, as last sent
    wants_events: bool = False

    @property
    def is_idle(self) -> bool:
        return self.pending is None and not self.wants_events


class ControlServer:
    """The listening socket and its clients."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, port: ControlPort) -> None:
        """Listen at `path`.

        Raises:
            OSError: the socket cannot be created.
        """
        self._path, self._selector, self._port = path, selector, port
        self._clients: list[_Client] = []  # oldest first
        self._sock = listen_at(path)
        self._accepts_again_at: float | None = None  # monotonic s; None: it accepts
        self._watch_listener()

    def sockets(self) -> list[socket.socket]:
        """Return every socket: a forked child must close them."""
        return [self._sock, *(client.channel.sock for client in self._clients)]

    def update(self) -> None:
        """Send progress and outcome of requests that take time; accept again when it is due."""
        if self._accepts_again_at is not None and time.monotonic() >= self._accepts_again_at:
            self._watch_listener()
        for client in list(self._clients):
            if client.pending is not None:
                self._report(client, client.pending)

    def _report(self, client: _Client, pending: c.PendingRequest) -> None:
        outcome = pending.outcome(self._port.supervisor)
        if outcome is not None:
            client.pending = None
            self._send(client, c.answer("done" if outcome.done else "failed", text=outcome.text))
            return
        text = pending.progress(self._port.supervisor)
        if text != client.progress:
            client.progress = text
            self._send(client, c.answer("progress", text=text))

    def next_timer(self) -> float | None:
        """Return the monotonic time at which `update` is due without an event."""
        return self._accepts_again_at

    def publish(self, event: dict[str, Any]) -> None:
        """Send an event to every client that wants events."""
        listeners = [client for client in self._clients if client.wants_events]
        if listeners:
            payload = c.answer("event", event=event)
            for client in listeners:
                self._send(client, payload)

    def close(self) -> None:
        """Drop every client; EOF tells it that the cluster has ended."""
        for client in list(self._clients):
            self._drop(client)
        with contextlib.suppress(KeyError):  # it is not watched while it does not accept
            self._selector.unregister(self._sock)
        self._sock.close()
        self._path.unlink(missing_ok=True)

    # -- clients -------------------------------------------------------------------

    def _watch_listener(self) -> None:
        self._accepts_again_at = None
        self._selector.register(self._sock, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            sock = accept(self._sock)
        except OSError as ex:
            logger.warning("control socket: not accepting for %g s: %s", BACK_OFF, ex.strerror)
            self._accepts_again_at = time.monotonic() + BACK_OFF
            self._selector.unregister(self._sock)
            return
        if sock is None:
            return
        if len(self._clients) >= CLIENTS:
            idle = next((client for client in self._clients if client.is_idle), None)
            if idle is None:
                sock.close()
                return
            self._drop(idle)
        client = _Client(Channel(sock, FRAME_LIMIT, takes_fds=False))
        self._clients.append(client)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._on_client(client))

    def _on_client(self, client: _Client) -> None:
        if client not in self._clients:
            return  # dropped earlier in this round of the loop
        try:
            if client.channel.wants_write and client.channel.flush():
                self._watch(client)
            for frame in client.channel.receive():
                self._serve(client, c.decode(frame.payload))
        except (EOFError, OSError):
            self._drop(client)
        except LinkError as ex:
            self._send(client, c.answer("failed", text=str(ex)))
            self._drop(client)

    def _serve(self, client: _Client, request: c.ControlRequest) -> None:
        match request:
            case c.StatusRequest():
                self._send(client, c.answer("status", status=self._port.status()))
            case c.EventsRequest():
                client.wants_events = True
                self._send(client, c.answer("progress", text="listening"))
            case c.StopRequest(now):
                self._send(client, c.answer("progress", text="stopping"))
                if now or not self._port.supervisor.stopping:  # a second request is not a hurry
                    self._port.handle(e.StopAsked(quick=now))
            case _ if self._port.supervisor.stopping:
                self._refuse(client, "the cluster is stopping")
            case c.ReloadRequest():
                self._reload(client)
            case c.ScaleRequest():
                self._scale(client, request)
            case c.DrainRequest(slot):
                self._drain(client, slot)

    def _reload(self, client: _Client) -> None:
        try:
            generation = self._port.reload()
        except ConfigError as ex:
            self._refuse(client, f"nothing has changed: {ex}")
            return
        self._wait_for(client, c.PendingReload(generation))

    def _scale(self, client: _Client, request: c.ScaleRequest) -> None:
        supervisor = self._port.supervisor
        target = supervisor.target + request.by if request.to is None else request.to
        if not 1 <= target <= supervisor.most:
            limits = f"at least 1, at most {supervisor.most} workers are possible"
            self._refuse(client, f"{target} workers: {limits}")
            return
        self._port.handle(e.ScaleAsked(to=target))
        self._wait_for(client, c.PendingScale(target))

    def _drain(self, client: _Client, number: int) -> None:
        supervisor = self._port.supervisor
        for worker in supervisor.workers.values():
            if worker.slot == number and worker.state is WorkerState.READY:
                failures = supervisor.restarts.slots[number].failures
                why = "asked by `hybrid drain`"
                self._port.handle(e.WorkerWantsToLeave(worker.id, Leaving.DRAIN, why))
                self._wait_for(client, c.PendingDrain(worker.id, number, failures))
                return
        self._refuse(client, f"slot {number} has no ready worker")

    def _wait_for(self, client: _Client, pending: c.PendingRequest) -> None:
        client.pending, client.progress = pending, ""
        self.update()

    def _refuse(self, client: _Client, why: str) -> None:
        self._send(client, c.answer("failed", text=why))

    def _send(self, client: _Client, payload: bytes) -> None:
        if client not in self._clients:
            return
        if len(payload) > FRAME_LIMIT:
            payload = c.answer("failed", text=str(FrameTooLarge(len(payload), FRAME_LIMIT)))
        try:
            client.channel.send(payload)
        except OSError:
            self._drop(client)
            return
        if client.channel.outbox_bytes > UNREAD_LIMIT:
            logger.info("a client of the control socket does not read; it is dropped")
            self._drop(client)
            return
        self._watch(client)

    def _watch(self, client: _Client) -> None:
        """Wait for writability only while something waits to be written."""
        interest = selectors.EVENT_READ
        if client.channel.wants_write:
            interest |= selectors.EVENT_WRITE
        self._selector.modify(client.channel, interest, lambda: self._on_client(client))

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            with contextlib.suppress(KeyError):
                self._selector.unregister(client.channel)
            client.channel.close()
