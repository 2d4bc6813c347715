"""Keys for stores that take text without blanks and control characters only."""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SAFE = "!$&()*+,-./:;<=>?@[]^_{|}~"  # everything printable but %, #, quotes and backslash


def quoted(key: bytes) -> str:
    """Return a key in printable ASCII; a prefix of the key becomes a prefix of it."""
    return quote_from_bytes(key, safe=_SAFE)


def unquoted(text: str) -> bytes:
    """Return the key."""
    return unquote_to_bytes(text)


def quoted_or_hashed(key: bytes, longest: int) -> bytes:
    """Return a key in printable ASCII of a bounded length; what is too long is hashed."""
    text = quoted(key)
    if len(text) > longest:
        return b"#" + blake2b(key, digest_size=32).hexdigest().encode()
    return text.encode()
