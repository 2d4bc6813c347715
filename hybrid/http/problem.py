"""Errors as ``application/problem+json`` (RFC 9457), and the request id in them.

Sans-I/O and without Falcon: the server writes these before an application has
seen the request, hybrid's Falcon pieces write them for the application.
"""

from __future__ import annotations

import re

import orjson

PROBLEM_JSON = "application/problem+json"

# What may stand unescaped in a header, a log line and a file name.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def usable_id(given: bytes | None) -> str | None:
    """Return the client's request id if it is harmless in headers, logs and file names."""
    if given is None or not _REQUEST_ID.fullmatch(given):
        return None
    return given.decode("ascii")


def problem(status: int, title: str, detail: str, request_id: str) -> bytes:
    """Return a problem document as JSON."""
    # The detail may quote the client or a job's exception: a lone surrogate is not valid JSON.
    detail = detail.encode("utf-8", "backslashreplace").decode()
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        }
    )
