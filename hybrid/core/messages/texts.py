"""Text for a message on a link: encodable as JSON, and not too long for a frame."""

from __future__ import annotations

import orjson

_KEPT = 0.9  # of the characters, at each try


def last_part(text: str, limit: int) -> str:
    """Return the end of `text`, at most `limit` bytes as JSON.

    A character can take one byte or six, so a number of characters does not tell. A
    lone surrogate, as in the name of a file that is not UTF-8, is not JSON at all.
    """
    text = text[-limit:].encode(errors="backslashreplace").decode()
    while len(orjson.dumps(text)) > limit:
        text = text[len(text) - int(len(text) * _KEPT) :]
    return text
