"""Listening sockets: from an address the operator wrote to a bound socket.

They belong to the primary for its whole life. A worker inherits the
descriptor, so while no worker is alive connections wait in the backlog
instead of being refused, and a reload never closes the port.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybrid.config import BindConfig
from hybrid.errors import ConfigError
from hybrid.system.process.streams import STANDARD, open_standard_streams

# -- Listening sockets that systemd opened for us (sd_listen_fds(3)) -------------

_FIRST = 3  # SD_LISTEN_FDS_START


def passed_sockets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the addresses ``fd://3`` … of the sockets passed to this very process.

    Empty without ``LISTEN_FDS``, or when ``LISTEN_PID`` names another process:
    a process that starts us may have inherited the variables itself.
    """
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if not count.isdecimal() or pid != str(os.getpid()):
        return ()
    return tuple(f"fd://{_FIRST + i}" for i in range(int(count)))


BACK_OFF = 0.5  # s in which nothing is accepted where `accept` has failed


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening, non-blocking socket.

    `created` is the file system entry to remove at the end, None when we did
    not make one (TCP, or a socket that was handed to us).
    """

    sock: socket.socket
    created: Path | None = None

    @property
    def address(self) -> str:
        """Return where it listens, as a URL a user can paste."""
        name = self.sock.getsockname()
        if self.sock.family == socket.AF_UNIX:
            return f"unix:{os.fsdecode(name) if isinstance(name, bytes) else name}"
        host, port = name[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        """Close the socket and remove the file we created for it."""
        self.sock.close()
        if self.created is not None:
            self.created.unlink(missing_ok=True)


def open_listeners(settings: BindConfig, *, reuseport: bool = False) -> tuple[Listener, ...]:
    """Bind every address, all or none.

    Args:
        settings: the addresses, and how to listen there.
        reuseport: so that a `sibling` of each can be bound later.

    Raises:
        ConfigError: an address cannot be parsed or bound; names it, and why.
    """
    listeners: list[Listener] = []
    try:
        for address in settings.addresses:
            listeners.append(_open(address, settings, reuseport))  # noqa: PERF401 - closed on failure
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return tuple(listeners)


def accept(listener: socket.socket) -> socket.socket | None:
    """Take a connection from a non-blocking listener; None: none waits.

    Raises:
        OSError: none can be taken now; mostly no descriptor is free. The listener
            stays readable, so do not look at it for `BACK_OFF` seconds.
    """
    while True:
        try:
            return listener.accept()[0]
        except BlockingIOError:
            return None
        except ConnectionAbortedError:
            continue  # it left before we came


def sibling(listener: Listener) -> Listener:
    """Return another socket on the same address, bound and not listening yet.

    The kernel gives connections only to sockets that listen: its worker calls
    ``listen`` when it is ready, so that no connection waits for a boot.

    Raises:
        OSError: it cannot be bound.
    """
    first = listener.sock
    sock = socket.socket(first.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if first.family == socket.AF_INET6:
            only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(first.getsockname())
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(sock)


def _open(address: str, settings: BindConfig, reuseport: bool) -> Listener:
    if reuseport and address.startswith(("unix:", "fd://")):
        raise ConfigError(f"--scheduling reuseport needs HOST:PORT addresses, not {address}")
    try:
        if address.startswith("unix:"):
            return _open_unix(Path(address.removeprefix("unix:")), settings)
        if address.startswith("fd://"):
            return _adopt(address)
        host, port = split_address(address)
        if not reuseport:
            return _open_tcp(host, port, settings.backlog)
        # Why twice: with SO_REUSEPORT a bind succeeds although another server of the
        # same user listens there, and would get a part of our connections. A plain one fails.
        probe = _open_tcp(host, port, settings.backlog)
        port = probe.sock.getsockname()[1]
        probe.close()
        return _open_tcp(host, port, settings.backlog, reuseport=True)
    except OSError as ex:
        raise ConfigError(f"cannot listen on {address}: {_reason(ex, address)}") from ex


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT, where HOST may be an IPv6 address in brackets.

    Raises:
        ConfigError: no port, or a port outside 0..65535.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"{address!r} is not HOST:PORT, unix:PATH or fd://N")
    return host.strip("[]"), int(port)


def _open_tcp(host: str, port: int, backlog: int, reuseport: bool = False) -> Listener:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # An empty host means every interface: prefer the IPv6 wildcard, which also takes IPv4.
    found.sort(key=lambda info: info[0] != socket.AF_INET6 if not host else 0)
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        # Lets a restarted server bind while old connections are in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
        sock.bind(where)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(sock)


def _open_unix(path: Path, settings: BindConfig) -> Listener:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(path))
        path.chmod(settings.unix_mode)
        sock.listen(settings.backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, created=path.absolute())


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that is gone; keep anything else."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigError(f"cannot listen on unix:{path}: a file of that name exists")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(f"cannot listen on unix:{path}: another server is using it")


def _adopt(address: str) -> Listener:
    """Take a listening socket that our own parent opened.

    It is never listened on again: the backlog is its opener's decision, and
    SELinux may forbid it.
    """
    number = address.removeprefix("fd://")
    if not number.isdecimal():
        raise ConfigError(f"{address!r} names no descriptor: fd://N, N a number")
    sock = socket.socket(fileno=int(number))
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise ConfigError(f"{address} is not a listening socket")
    if sock.fileno() in STANDARD:
        sock = _move_out_of_the_way(sock)
    sock.setblocking(False)
    return Listener(sock)


def _move_out_of_the_way(sock: socket.socket) -> socket.socket:
    """Return the socket under another number: 0, 1 and 2 are the standard streams of a child.

    inetd passes a listening socket as standard input.
    """
    moved = socket.socket(fileno=fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, len(STANDARD)))
    number = sock.detach()
    os.close(number)  # or the address would stay in use when `moved` is closed
    open_standard_streams()
    return moved


def _reason(ex: OSError, address: str) -> str:
    hints = {
        errno.EADDRINUSE: "the address is in use; another server, or another port with --port",
        errno.EACCES: "permission denied; ports below 1024 need privileges",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address",
        errno.EBADF: "no such open descriptor",
        errno.ENOTSOCK: "that descriptor is not a socket",
    }
    if isinstance(ex, socket.gaierror):
        return f"the host name in {address} cannot be resolved"
    return hints.get(ex.errno or 0, ex.strerror or str(ex))


def close_all(listeners: Sequence[Listener]) -> None:
    """Close every listener, the port is free afterwards."""
    for listener in listeners:
        listener.close()
