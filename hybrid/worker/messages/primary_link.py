"""The worker's end of the control link, on its event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import NoReturn

from hybrid.core.messages import link_messages as m
from hybrid.errors import LinkError, PoolBroken
from hybrid.pool.process.spawning import SpawnedProcess
from hybrid.system.sockets.channel import Channel, Frame

logger = logging.getLogger("hybrid.error")


class PrimaryLink:
    """Sends messages to the primary, delivers its messages. Also the pool's `Spawner`.

    Teacher: on Linux the kernel kills a worker whose primary dies; EOF on this
    link is the fallback elsewhere, and ends the worker at once: without a
    primary no process could ever stop or replace it.
    """

    def __init__(
        self,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[m.Message, tuple[int, ...]], None],
    ) -> None:
        self._channel = channel
        self._loop = loop
        self._on_message = on_message
        self._spawning: dict[int, asyncio.Future[SpawnedProcess]] = {}
        self._next_request = 1
        loop.add_reader(channel.fileno(), self._readable)

    def send(self, message: m.Message) -> None:
        """Send now, or as soon as the primary reads; never waits."""
        try:
            self._channel.send(m.encode(message))
        except OSError:
            self._exit_without_primary()
        if self._channel.wants_write:
            self._loop.add_writer(self._channel.fileno(), self._writable)

    @property
    def waiting(self) -> int:
        """Return the bytes that the primary has not read yet."""
        return self._channel.outbox_bytes

    async def spawn(self) -> SpawnedProcess:
        """Ask the primary for a pool process.

        Raises:
            PoolBroken: the primary could not fork, or no descriptor is free in this worker.
        """
        request = self._next_request
        self._next_request += 1
        future: asyncio.Future[SpawnedProcess] = self._loop.create_future()
        self._spawning[request] = future
        self.send(m.ForkPoolProcess(request))
        try:
            return await future
        finally:
            self._spawning.pop(request, None)

    def close(self) -> None:
        """Stop watching the link; the primary sees EOF when the process ends."""
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())

    def _writable(self) -> None:
        if self._channel.flush():
            self._loop.remove_writer(self._channel.fileno())

    def _readable(self) -> None:
        try:
            frames = self._channel.receive()
        except EOFError:
            self._exit_without_primary()
        except (OSError, LinkError) as ex:
            logger.error("the link to the primary is broken: %s", ex)
            self._exit_without_primary()
        for frame in frames:
            self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        try:
            message = m.decode(frame.payload)
        except LinkError as ex:
            logger.error("an invalid message of the primary is ignored: %s", ex)
            for fd in frame.fds:
                os.close(fd)
            return
        match message:
            case m.PoolProcessForked(request, pid):
                self._spawned(request, pid, frame.fds)
            case m.ForkRefused(request, reason):
                self._refused(request, reason)
            case _:
                self._on_message(message, frame.fds)

    def _refused(self, request: int, reason: str) -> None:
        future = self._spawning.get(request)
        if future is not None and not future.done():
            future.set_exception(PoolBroken(f"no pool process: {reason}"))

    def _spawned(self, request: int, pid: int, fds: tuple[int, ...]) -> None:
        if not fds:  # its socket is closed, which ends the process
            self._refused(request, "no descriptor is free (`ulimit -n`)")
            return
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        pidfd = fds[1] if len(fds) > 1 else -1
        future = self._spawning.get(request)
        if future is None or future.done():  # its request was cancelled; EOF ends the process
            sock.close()
            if pidfd >= 0:
                os.close(pidfd)
            return
        future.set_result(SpawnedProcess(sock, pid, pidfd))

    def _exit_without_primary(self) -> NoReturn:
        os._exit(1)
