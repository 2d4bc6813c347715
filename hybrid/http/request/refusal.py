"""Why a request is refused before the application sees it, and the answer it gets."""

from __future__ import annotations

import re
from http import HTTPStatus

import orjson

from hybrid.errors import HybridError


class Refused(HybridError):
    """The client's request is malformed or over a limit; nothing behind it is read.

    The message is for the client: it names the rule or the limit with its flag.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class ClientGone(HybridError, ConnectionError):
    """The application sent to a client that has left; ASGI wants an OSError."""


_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def usable_id(given: bytes | None) -> str | None:
    """Return the client's request id if it is harmless in headers, logs and file names."""
    if given is None or not _REQUEST_ID.fullmatch(given):
        return None
    return given.decode("ascii")


def problem(status: int, detail: str, request_id: str = "") -> bytes:
    """Return a problem document (RFC 9457) as JSON."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if request_id:
        document["request_id"] = request_id
    return orjson.dumps(document)
