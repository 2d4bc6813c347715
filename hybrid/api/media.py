"""Falcon's media handlers for ``.npy`` arrays and JSON."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.media
import numpy as np
import orjson

from hybrid.api.npy import array_from_bytes, array_from_stream, array_to_bytes


class NpyHandler(falcon.media.BaseHandler):
    """ndarray ⇄ ``application/x-npy``; large answers go through `npy.npy_body` instead."""

    def deserialize(self, stream: Any, content_type: str | None, content_length: int | None) -> Any:
        """Return the array of a body (WSGI)."""
        return array_from_bytes(stream.read())

    async def deserialize_async(
        self, stream: Any, content_type: str | None, content_length: int | None
    ) -> Any:
        """Return the array of a body, read-only; a large one lies in the worker's arena."""
        return await array_from_stream(stream, content_length)

    def serialize(self, media: Any, content_type: str) -> bytes:
        """Return an array as ``.npy`` bytes; one copy."""
        return array_to_bytes(np.asarray(media))


class JsonHandler(falcon.media.BaseHandler):
    """JSON by orjson; numpy scalars become numbers, arrays become lists."""

    def deserialize(self, stream: Any, content_type: str | None, content_length: int | None) -> Any:
        """Return the value of a body (WSGI)."""
        return _loads(stream.read(), content_length)

    async def deserialize_async(
        self, stream: Any, content_type: str | None, content_length: int | None
    ) -> Any:
        """Return the value of a body."""
        return _loads(await stream.read(), content_length)

    def serialize(self, media: Any, content_type: str) -> bytes:
        """Return a value as JSON."""
        return orjson.dumps(media, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    """Return an array that orjson cannot write itself, in C order."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _loads(body: bytes, length: int | None) -> Any:
    if not body:
        raise falcon.MediaNotFoundError("JSON")
    if length is not None and len(body) < length:
        # Falcon treats a client's departure as the end of the body; 12 of 1234 is also JSON.
        raise falcon.MediaMalformedError("JSON")
    try:
        return orjson.loads(body)  # refuses nesting deeper than 1024
    except orjson.JSONDecodeError as ex:
        raise falcon.MediaMalformedError("JSON") from ex
