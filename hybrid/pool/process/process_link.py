"""A pool process, seen from its worker: one socket, at most one call.

The event loop reads the socket itself (`add_reader`): no helper thread, no
queue in between; a job's way is one send and one receive on each side.

Rule 1: a link that is gone stays gone; its lane makes a new one.
Rule 2: the descriptors are unwatched before they are closed, always: a number
        that is closed while it is watched may belong to another connection next.
Rule 3: an answer belongs to the call that is on the link. A kill timer
        belongs to a call as well, and does nothing once that call is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from typing import Any, Protocol

from hybrid.core.fast_enum import FastEnum
from hybrid.errors import FrameTooLarge, IllegalTransition, JobRefused
from hybrid.pool.arena.blocks import RegionLoan
from hybrid.pool.call import Call
from hybrid.pool.lane import MemberGone
from hybrid.pool.process.pickling import Buffer, FrameKind, PickledFrame, Reader, decode, encode
from hybrid.pool.process.pool_messages import Failure, Note, ProcessHello, ProcessReady, Raised
from hybrid.pool.process.spawning import SpawnedProcess


class LinkState(FastEnum):
    """Where a pool process is in its life, as its worker sees it."""

    STARTING = "starting"  # HELLO is sent; it imports
    IDLE = "idle"  # in ProcessLane's idle list
    BUSY = "busy"  # runs the call of the link
    GONE = "gone"  # dead, or about to be; in no list


class LinkEvent(FastEnum):
    """What can happen to a pool process."""

    READY = "ready"
    RUN = "run"
    ANSWER = "answer"
    LOSE = "lose"


LINK_TRANSITIONS: dict[LinkState, dict[LinkEvent, LinkState]] = {
    LinkState.STARTING: {LinkEvent.READY: LinkState.IDLE, LinkEvent.LOSE: LinkState.GONE},
    LinkState.IDLE: {LinkEvent.RUN: LinkState.BUSY, LinkEvent.LOSE: LinkState.GONE},
    LinkState.BUSY: {LinkEvent.ANSWER: LinkState.IDLE, LinkEvent.LOSE: LinkState.GONE},
    LinkState.GONE: {LinkEvent.LOSE: LinkState.GONE},
}


class LinkOwner(Protocol):
    """What a link tells its lane."""

    def link_ready(self, link: ProcessLink, seconds: float) -> None:
        """The process takes jobs; its imports took so long."""

    def link_answered(
        self, link: ProcessLink, call: Call, answer: PickledFrame | Raised | Failure
    ) -> None:
        """The call is over; the link is idle already."""

    def link_noted(self, link: ProcessLink, note: Note) -> None:
        """The process said something about itself."""

    def link_failed(self, link: ProcessLink, failure: Failure) -> None:
        """The process could not get ready."""

    def link_lost(self, link: ProcessLink, call: Call | None, has_begun: bool) -> None:
        """The process is dead or useless; `call` was on it, and perhaps it has begun."""


class ProcessLink:
    """The worker's handle of one pool process."""

    def __init__(
        self,
        number: int,
        spawned: SpawnedProcess,
        owner: LinkOwner,
        loop: asyncio.AbstractEventLoop,
        loan: RegionLoan | None,
        asked_at: float = 0.0,
    ) -> None:
        self.number, self.pid = number, spawned.pid
        self.asked_at = asked_at  # monotonic s; when the lane wished for it
        self.state = LinkState.STARTING
        self.call: Call | None = None
        self.loan = loan  # its region of the arena, and what it borrowed from it
        self._sock: socket.socket = spawned.sock
        self._pidfd = spawned.pidfd
        self._owner, self._loop = owner, loop
        self._reader = Reader(spawned.sock)
        self._outbox: deque[memoryview] = deque()
        self._freed: tuple[int, ...] = ()  # blocks that the last message gave back
        self._fd = spawned.sock.fileno()
        loop.add_reader(self._fd, self._on_readable)
        if self._pidfd >= 0:  # a job that forked keeps the socket open: no EOF
            loop.add_reader(self._pidfd, self._on_death)

    def _advance(self, event: LinkEvent) -> None:
        try:
            self.state = LINK_TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTransition(f"{event.name} while {self.state.name}") from None

    def send_hello(self, hello: ProcessHello) -> None:
        """Send the first message; `link_ready` or `link_lost` follows."""
        with contextlib.suppress(OSError):  # dead already: the loop will see EOF
            self._send(encode(FrameKind.HELLO, hello))

    def run(self, call: Call) -> None:
        """Send `call` to the process.

        Raises:
            MemberGone: the process is dead; nothing has run.
            JobRefused: the arguments cannot travel.
        """
        job, loan = call.job, self.loan
        place, freed = (loan.place, loan.pop_freed()) if loan is not None else (None, ())
        self._freed = freed
        message = (job.address, freed, call.args, call.kwargs)
        try:
            chunks = encode(
                FrameKind.RUN_WRITABLE if job.writable else FrameKind.RUN, message, place
            )
        except FrameTooLarge as ex:
            self._restore_freed(freed)
            raise JobRefused(f"the arguments of job {job.name} are too large: {ex}") from ex
        except Exception as ex:
            self._restore_freed(freed)
            raise JobRefused(f"the arguments of job {job.name} cannot be pickled: {ex}") from ex
        try:
            self._send(chunks)
        except OSError as ex:
            self._lose()
            raise MemberGone from ex
        self._advance(LinkEvent.RUN)
        self.call = call
        call.slot = self.number

    def _restore_freed(self, freed: tuple[int, ...]) -> None:
        if self.loan is not None:
            self.loan.restore_freed(freed)

    def _send(self, chunks: list[Buffer]) -> None:
        """Send now what the kernel takes, the rest when the socket is writable."""
        try:
            if len(chunks) == 1:
                sent = self._sock.send(chunks[0])
                if sent == len(chunks[0]):
                    return
            else:
                sent = self._sock.sendmsg(chunks[:64])
        except BlockingIOError:
            sent = 0
        self._outbox.extend(memoryview(chunk) for chunk in chunks)
        self._drop_sent(sent)
        if self._outbox:
            self._loop.add_writer(self._fd, self._on_writable)

    def _drop_sent(self, sent: int) -> None:
        while self._outbox and sent >= len(self._outbox[0]):
            sent -= len(self._outbox.popleft())
        if sent:
            self._outbox[0] = self._outbox[0][sent:]

    def _on_writable(self) -> None:
        try:
            self._drop_sent(self._sock.send(self._outbox[0]))
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        if not self._outbox:
            self._loop.remove_writer(self._fd)

    def _on_readable(self) -> None:
        try:
            frames = self._reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError) as ex:
            self._lose(ex)
            return
        for frame in frames:
            self._handle(frame)

    def _handle(self, frame: PickledFrame) -> None:
        """Take one frame; what cannot be understood was not written by `member.py`."""
        if frame.kind == FrameKind.RESULT:  # by far the most frequent; its message is the job's own
            self._finish_call(frame)
            return
        try:
            message = decode(frame)
        except Exception:
            self._lose()
            return
        self._handle_message(message)

    def _handle_message(self, message: Any) -> None:
        is_starting = self.state is LinkState.STARTING
        match message:
            case (float(), str()):
                if self.call is not None:
                    self.call.report(*message)
            case Note():
                self._owner.link_noted(self, message)
            case ProcessReady() if is_starting:
                self._advance(LinkEvent.READY)
                self._owner.link_ready(self, message.seconds)
            case Failure() if is_starting:
                self._owner.link_failed(self, message)
            case Failure():
                self._restore_freed(self._freed)  # perhaps it had not come to that
                self._finish_call(message)
            case Raised():
                self._finish_call(message)
            case _:
                self._lose()

    def _finish_call(self, answer: PickledFrame | Raised | Failure) -> None:
        call, self.call = self.call, None
        if call is None:  # an answer to nothing
            self._lose()
            return
        self._advance(LinkEvent.ANSWER)
        self._owner.link_answered(self, call, answer)

    def load(self, frame: PickledFrame) -> Any:
        """Return what an answer carries; large arrays stay where the process laid them."""
        return decode(frame, self.loan.adopt if self.loan is not None else None)

    def ask_for_stacks(self) -> None:
        """Have the process write its stacks to standard error, if it can still do that."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGUSR2)

    def kill(self) -> None:
        """End the process at once; `link_lost` follows when it is dead."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        else:  # its end sees EOF when the job is over: all that is left without pidfd
            self._lose()

    def kill_if_runs(self, call: Call) -> bool:
        """Kill the process if it still runs `call` (rule 3); return whether it did."""
        if self.call is not call:
            return False
        self.kill()
        return True

    def close(self) -> None:
        """Let the process go: it leaves at EOF. No `link_lost` follows."""
        if self.state is not LinkState.GONE:
            self._advance(LinkEvent.LOSE)
            self._close()

    def _on_death(self) -> None:
        """The process has exited; what it sent before that still counts.

        The loop may report the exit before the data that the process wrote last. Without
        the reads here, a job that has returned its result would be answered as broken.
        An empty socket ends the link just as EOF does: a program that the job has started
        may hold the other end open, and EOF would never come.
        """
        self._loop.remove_reader(self._pidfd)
        while self.state is not LinkState.GONE:
            try:
                frames = self._reader.read()
            except (EOFError, OSError) as ex:  # BlockingIOError as well: nothing more will come
                self._lose(ex)
                return
            for frame in frames:
                self._handle(frame)

    def _lose(self, reason: Exception | None = None) -> None:
        if self.state is LinkState.GONE:
            return
        self._advance(LinkEvent.LOSE)
        call, self.call = self.call, None
        if self._pidfd >= 0:  # it may only have closed its socket
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._close()
        # Teacher: an AF_UNIX socket reports ECONNRESET, not EOF, when the other end
        # was closed with data in it that it had not read: the job never began.
        # (unix_release_sock in net/unix/af_unix.c)
        has_begun = not isinstance(reason, ConnectionResetError)
        self._owner.link_lost(self, call, has_begun)

    def _close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self._outbox.clear()
