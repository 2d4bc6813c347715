"""A request as it came from the wire: its head, and its body so far."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes

from hybrid.http.request.refusal import Refused

Header = tuple[bytes, bytes]

_FRAGMENT, _QUERY, _PERCENT = b"#?%"  # a number is found five times as fast as a bytes object

# RFC 3986 section 3.2.2, without the comma, with which a proxy joins two Hosts. 255 bytes are
# more than the longest name of the DNS.
_HOST = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2}){1,255})"
    rb"(?::([0-9]{0,5}))?"
)


def names_a_host(value: bytes) -> bool:
    """Return whether `value` is a host with an optional port, as in ``Host``.

    What passes can be put into a URL and taken out again unchanged: no user,
    path, query or blank in it, and an address in brackets is one.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    address, port = match.groups()
    if address is not None:
        try:
            IPv6Address(address.decode())
        except ValueError:
            return False
    return not port or int(port) <= 65535


class Request:
    """One request, filled by the reader, drained by the exchange.

    `chunks` and `buffered` are the part of the body that the application has not
    received yet; `ended` says whether its last byte has come. What few requests
    have is a default of the class: an attribute that is not written costs nothing.
    """

    method = ""  # empty: the head is not complete
    path = ""
    raw_path = b""
    query = b""
    http_version = "1.1"
    keep_alive = True
    content_length = 0  # as declared; -1: chunked
    expects_continue = False
    websocket = False
    request_id: bytes | None = None
    is_forwarded = False  # one of the next two is there
    forwarded_for: bytes | None = None
    forwarded_proto: bytes | None = None
    client: tuple[str, int] | None = None  # as a trusted proxy says
    hosts = 0  # Host headers
    singles = 0  # a bit for each header that has come and may not come twice
    size = 0  # bytes of the head, and of trailers
    excess = 0  # bytes of chunk framing above what the body justifies
    buffered = 0
    taken = 0  # bytes of the body that have come in all
    ended = False
    target = b""
    line = b""  # what of a head that comes in pieces came up to the end of its first line
    chunks: list[bytes] | None = None

    def __init__(self) -> None:
        self.headers: list[Header] = []

    def add_body(self, data: bytes) -> None:
        """Append a piece of the body."""
        if self.chunks is None:
            self.chunks = [data]
        else:
            self.chunks.append(data)
        self.buffered += len(data)

    def take_body(self) -> bytes:
        """Return the buffered part of the body, and empty the buffer."""
        chunks = self.chunks
        if chunks is None:
            return b""
        self.chunks = None
        self.buffered = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def header(self, wanted: bytes) -> bytes | None:
        """Return the value of the first header of that name, in lower case."""
        for name, value in self.headers:  # a generator would cost five times as much
            if name == wanted:
                return value
        return None

    def locate(self) -> None:
        """Find `path` (percent-decoded), `raw_path` and `query` in the target.

        In absolute-form the authority replaces the Host header (RFC 9112
        section 3.2.2).

        Raises:
            Refused: the target has a fragment, or a form that this method may not use.
        """
        raw = self.target
        if not raw.startswith(b"/"):
            raw = self._other_form(raw)
        if _FRAGMENT in raw:
            raise Refused(400, "a request target has no fragment")
        if _QUERY in raw:
            raw, _, self.query = raw.partition(b"?")
        self.raw_path = raw
        if _PERCENT in raw:
            self.path = unquote_to_bytes(raw).decode("utf-8", "replace")
        else:
            self.path = raw.decode("ascii")

    def _other_form(self, target: bytes) -> bytes:
        if target == b"*":
            if self.method != "OPTIONS":
                raise Refused(400, "the target * is for OPTIONS only")
            return target
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in (b"http", b"https", b"ws", b"wss"):
            raise Refused(400, "the request target is neither a path nor an http URL")
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, path = rest[:end], rest[end:]
        if not names_a_host(authority):
            raise Refused(400, "the authority of the request target names no host")
        self.headers = [
            (name, authority if name == b"host" else value) for name, value in self.headers
        ]
        return path if path[:1] == b"/" else b"/" + path
