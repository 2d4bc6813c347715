"""The generator's HTTP: one encoded request per stream, a parser that looks for little.

A full HTTP client costs several times the CPU of the server it measures. Here a
request is bytes made once, and an answer is looked at for its end, status,
worker and job times only. Framing by Content-Length is the fast path; chunked
bodies and bodies that end with the connection are understood too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hybrid.bench.load.plan import Stream

_TIMES = re.compile(rb"(queue|run);dur=([0-9.]+)")
_NO_BODY = (204, 304)


class MalformedAnswer(ValueError):
    """The peer sent something that is not an HTTP/1 answer."""


@dataclass(slots=True)
class ReceivedAnswer:
    """What the measurement needs of one answer."""

    status: int
    size: int  # bytes of the whole answer
    worker: int = -1  # X-Worker, or -1
    queue: float = 0.0  # ms, from Server-Timing
    run: float = 0.0  # ms
    closing: bool = False  # the peer will close this connection


@dataclass(slots=True)
class Partial:
    """The answer is not complete; parse again when `needed` bytes are there."""

    needed: int


def encode(stream: Stream, host: str, port: int) -> bytes:
    """Return the request of `stream` as it goes over the wire."""
    body = Path(stream.body_file).read_bytes() if stream.body_file else b""
    name = f"[{host}]" if ":" in host else host
    lines = [f"{stream.method} {stream.path} HTTP/1.1", f"Host: {name}:{port}"]
    lines += [f"{header}: {value}" for header, value in stream.headers]
    if body or stream.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def parse(data: bytes | bytearray, *, eof: bool = False) -> ReceivedAnswer | Partial:
    """Read the answer at the start of `data`.

    Args:
        data: everything received since the request was sent.
        eof: the peer has closed; a body without a length ends here.

    Raises:
        MalformedAnswer: `data` does not start like HTTP/1.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if not data.startswith(b"HTTP/1."[: len(data)]):
            raise MalformedAnswer(f"answer starts with {bytes(data[:20])!r}")
        return Partial(len(data) + 1)
    head = bytes(data[:end]).lower()
    answer = _head(head)
    start = end + 4
    if answer.status < 200:  # 1xx: an interim answer precedes the real one
        return _shifted(parse(data[start:], eof=eof), start)
    if answer.status in _NO_BODY:
        answer.size = start
        return answer
    return _body(data, head, start, answer, eof=eof)


def _body(
    data: bytes | bytearray, head: bytes, start: int, answer: ReceivedAnswer, *, eof: bool
) -> ReceivedAnswer | Partial:
    length = _field(head, b"content-length")
    if length is not None:
        answer.size = start + int(length)
        return answer if len(data) >= answer.size else Partial(answer.size)
    if b"chunked" in (_field(head, b"transfer-encoding") or b""):
        found = _chunked_end(data, start)
        if found is None:
            return Partial(len(data) + 1)
        answer.size = found
        return answer
    answer.size, answer.closing = len(data), True
    return answer if eof else Partial(len(data) + 1)


def _head(head: bytes) -> ReceivedAnswer:
    if not head.startswith(b"http/1.") or not head[9:12].isdigit():
        raise MalformedAnswer(f"answer starts with {head[:20]!r}")
    answer = ReceivedAnswer(int(head[9:12]), 0)
    worker = _field(head, b"x-worker")
    if worker is not None and worker.isdigit():
        answer.worker = int(worker)
    timing = _field(head, b"server-timing")
    if timing is not None:
        for name, value in _TIMES.findall(timing):
            setattr(answer, name.decode(), float(value))
    connection = _field(head, b"connection")
    answer.closing = b"close" in connection if connection else head.startswith(b"http/1.0")
    return answer


def _field(head: bytes, name: bytes) -> bytes | None:
    """Return a header's value; `head` is already in lower case."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def _chunked_end(data: bytes | bytearray, at: int) -> int | None:
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(bytes(data[at:line]).split(b";")[0], 16)
        if size == 0:
            end = data.find(b"\r\n", line + 2)  # trailers are not sent to us
            return None if end < 0 else end + 2
        at = line + 2 + size + 2
        if at > len(data):
            return None


def _shifted(found: ReceivedAnswer | Partial, by: int) -> ReceivedAnswer | Partial:
    if isinstance(found, ReceivedAnswer):
        found.size += by
    else:
        found.needed += by
    return found
