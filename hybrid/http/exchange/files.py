"""A file as an answer's body: from the page cache to the socket, not through Python.

uvloop does not implement ``loop.sendfile``, and asyncio's replaces the
transport's protocol while it runs. So ``sendfile(2)`` is called here, on a
duplicate of the socket's descriptor: a loop refuses to watch a descriptor that
belongs to a transport.
"""

from __future__ import annotations

import asyncio
import os
import stat
from typing import IO

from hybrid.core.departure import Departure
from hybrid.http.answer.heads import BadAnswer
from hybrid.http.exchange.client_connection import ClientConnection

_AT_ONCE = 256 * 1024  # bytes per call; between two calls the loop runs other handlers


def open_regular(path: str) -> IO[bytes]:
    """Open a file to be sent; never waits, as ``open`` of a pipe without O_NONBLOCK does.

    Raises:
        BadAnswer: it is not a regular file, but a pipe, a device or a folder.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadAnswer(f"{path!r} is not a regular file")
    return os.fdopen(descriptor, "rb")


async def send_file(
    connection: ClientConnection, departure: Departure, head: bytes, file: IO[bytes], size: int
) -> int:
    """Send `head` and the first `size` bytes of `file`; return how many of them went out.

    Fewer than `size` if the file shrank or the client left; `departure` says which.
    """
    transport = connection.transport
    sock = transport.get_extra_info("socket")
    if transport.get_extra_info("sslcontext") is not None or sock is None:
        return await _copy(connection, departure, head, file, size)
    # With a limit of 0 "writable" means that every byte before ours is in the kernel.
    transport.set_write_buffer_limits(high=0)
    connection.write(head)
    await connection.wait_writable()
    duplicate = os.dup(sock.fileno()) if not departure.happened else -1
    try:
        return await _sendfile(connection, departure, duplicate, file.fileno(), size)
    finally:
        if duplicate >= 0:
            os.close(duplicate)
        if not departure.happened:
            transport.set_write_buffer_limits(high=connection.shared.settings.write_buffer)
            connection.pace()


async def _sendfile(
    connection: ClientConnection, departure: Departure, sock: int, file: int, size: int
) -> int:
    sent = 0
    patience = connection.shared.settings.body_timeout
    while sent < size and not departure.happened:
        connection.set_deadline(patience)
        try:
            count = os.sendfile(sock, file, sent, min(_AT_ONCE, size - sent))
        except BlockingIOError:
            await _writable(connection.shared.loop, departure, sock)
            continue
        except OSError:
            connection.abort()
            await asyncio.sleep(0)  # connection_lost comes in the loop's next turn
            break
        if not count:
            break
        sent += count
        await asyncio.sleep(0)
    return sent


async def _writable(loop: asyncio.AbstractEventLoop, departure: Departure, sock: int) -> None:
    """Return when the socket takes more bytes, or the client has left."""
    ready = asyncio.Event()
    unsubscribe = departure.on(ready.set)
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
        unsubscribe()


async def _copy(
    connection: ClientConnection, departure: Departure, head: bytes, file: IO[bytes], size: int
) -> int:
    """Send the file through the transport: TLS has to encrypt every byte."""
    connection.write(head)
    sent = 0
    while sent < size:
        await connection.wait_writable()
        piece = b"" if departure.happened else file.read(min(_AT_ONCE, size - sent))
        if not piece:
            break
        connection.write(piece)
        sent += len(piece)
    return sent  # without waiting: a client that has read all of it may have left
