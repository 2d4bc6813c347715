"""The other end of the control socket: finding a server and asking it."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from hybrid.core.messages import control_messages as c
from hybrid.errors import LinkError
from hybrid.primary.operator.pidfile import is_held
from hybrid.system.sockets.channel import Channel
from hybrid.system.sockets.runtime_directory import running

_FRAME_LIMIT = 8 * 1024 * 1024  # bytes; well above what a primary sends
_LAST_MOMENT = 10.0  # s between the end of the socket and that of the process

Command = Callable[..., Any]


def target_options(command: Command) -> Command:
    """Decorate a click command with the options that choose a server."""
    path = click.Path(path_type=Path)
    command = click.option(
        "--pid-file",
        type=path,
        envvar="HYBRID_PID_FILE",
        help="pid file of the server, to choose one of several",
    )(command)
    return click.option(
        "--control-socket",
        type=path,
        envvar="HYBRID_CONTROL_SOCKET",
        help="control socket of the server, instead of its pid file",
    )(command)


def find(control_socket: Path | None, pid_file: Path | None) -> Path:
    """Return the control socket of the chosen server, or of the only one that runs.

    Raises:
        click.ClickException: no server runs, or several do; says how to choose.
    """
    if control_socket is not None:
        return control_socket
    found = running()
    if pid_file is not None:
        pid = _owner_of(pid_file)
        if pid not in found:
            raise click.ClickException(
                f"process {pid} ({pid_file}) does not use the default control socket; "
                "pass its --control-socket"
            )
        return found[pid]
    if not found:
        raise click.ClickException("no running server of this user has a control socket")
    if len(found) > 1:
        listing = "".join(f"\n  {pid}: --control-socket {path}" for pid, path in found.items())
        raise click.ClickException(f"{len(found)} servers are running; choose one:{listing}")
    return next(iter(found.values()))


def _owner_of(pid_file: Path) -> int:
    """Return the pid in a pid file, if the server that wrote it still runs.

    Raises:
        click.ClickException: it does not, or this is not a pid file.
    """
    try:
        with pid_file.open() as file:
            pid = int(file.read())
            if not is_held(file.fileno()):
                raise click.ClickException(f"{pid_file} is stale: its server has ended")
            return pid
    except OSError as ex:
        raise click.ClickException(f"cannot read {pid_file}: {ex.strerror}") from ex
    except ValueError as ex:
        raise click.ClickException(f"{pid_file} is not a pid file") from ex


class Client:
    """One connection to a primary."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            click.ClickException: no server listens there.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(os.fspath(path))
        except OSError as ex:
            sock.close()
            raise click.ClickException(f"no server answers at {path}: {ex.strerror or ex}") from ex
        self._pidfd = _primary_of(sock)
        self._channel = Channel(sock, _FRAME_LIMIT, takes_fds=False)

    def ask(self, request: c.ControlRequest) -> Iterator[dict[str, Any]]:
        """Send a request; yield the answers until the server ends or the caller stops."""
        try:
            self._channel.send(c.encode(request))
        except OSError:
            return
        while True:
            try:
                for frame in self._channel.receive():
                    yield orjson.loads(frame.payload)
            except (EOFError, ConnectionError):
                return
            except LinkError as ex:
                raise click.ClickException(f"the server's answer cannot be read: {ex}") from ex
            select.select([self._channel], [], [])

    def status(self) -> dict[str, Any]:
        """Return the cluster's status.

        Raises:
            click.ClickException: the server ended instead of answering.
        """
        for answer in self.ask(c.StatusRequest()):
            if answer["answer"] == "status":
                status: dict[str, Any] = answer["status"]
                return status
            raise click.ClickException(answer.get("text", "no status"))
        raise click.ClickException("the server ended without an answer")

    def wait_for_exit(self) -> bool:
        """Wait for the primary to exit after it closed its socket; return whether it has."""
        if self._pidfd < 0:
            return True
        ready, _, _ = select.select([self._pidfd], [], [], _LAST_MOMENT)
        return bool(ready)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)


def _primary_of(sock: socket.socket) -> int:
    """Return a pidfd of the process that listens at the other end, -1 where that is unknown."""
    if not hasattr(socket, "SO_PEERCRED") or not hasattr(os, "pidfd_open"):
        return -1
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1
