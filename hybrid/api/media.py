"""Bodies: ``.npy`` arrays and JSON.

An array from the network is looked at before it is believed: its header says
how many bytes must follow, and exactly those must be there. Nothing is
allocated for what a header merely claims, and nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
from typing import Any

import falcon
import falcon.media
import numpy as np
import orjson
from numpy.lib import format as npy

NPY = "application/x-npy"
_MAX_HEADER = 10_000  # characters; numpy's own bound for headers it parses


class NpyHandler(falcon.media.BaseHandler):
    """ndarray ⇄ ``application/x-npy``."""

    def deserialize(self, stream: Any, content_type: str | None, content_length: int | None) -> Any:
        """Return the array of a body (WSGI)."""
        return array_from_bytes(stream.read())

    async def deserialize_async(
        self, stream: Any, content_type: str | None, content_length: int | None
    ) -> Any:
        """Return the array of a body: a read-only view onto its bytes."""
        return array_from_bytes(await stream.read())

    def serialize(self, media: Any, content_type: str) -> bytes:
        """Return an array as ``.npy`` bytes; one copy."""
        return array_to_bytes(np.asarray(media))


class JsonHandler(falcon.media.BaseHandler):
    """JSON by orjson; numpy scalars and arrays are numbers and lists."""

    def deserialize(self, stream: Any, content_type: str | None, content_length: int | None) -> Any:
        """Return the value of a body (WSGI)."""
        return _loads(stream.read())

    async def deserialize_async(
        self, stream: Any, content_type: str | None, content_length: int | None
    ) -> Any:
        """Return the value of a body."""
        return _loads(await stream.read())

    def serialize(self, media: Any, content_type: str) -> bytes:
        """Return a value as JSON."""
        return orjson.dumps(media, option=orjson.OPT_SERIALIZE_NUMPY)


def array_from_bytes(body: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the array that an ``.npy`` body holds, without copying it.

    Raises:
        falcon.HTTPUnprocessableEntity: no such body; an object or structured
            dtype; a shape that needs more or fewer bytes than there are.
    """
    stream = io.BytesIO(body)
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            header = npy.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
        elif version == (2, 0):
            header = npy.read_array_header_2_0(stream, max_header_size=_MAX_HEADER)
        else:
            raise _unprocessable(f"npy format version {version[0]}.{version[1]} is not supported")
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError) as ex:
        raise _unprocessable(f"the body is no npy array: {str(ex)[:200]}") from ex
    shape, fortran, dtype = header
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biufc":
        raise _unprocessable(f"arrays of dtype {str(dtype)[:80]} are not taken; send plain numbers")
    if len(shape) > 8 or any(n < 0 for n in shape):
        raise _unprocessable(f"shape {str(shape)[:80]} is not possible")
    there = len(body) - stream.tell()
    needed = math.prod(shape) * dtype.itemsize  # Python integers: cannot overflow
    if needed != there:
        raise _unprocessable(
            f"shape {str(shape)[:80]} of {dtype} needs {needed} bytes, the body has {there}"
        )
    flat = np.frombuffer(body, dtype=dtype, offset=stream.tell(), count=math.prod(shape))
    return flat.reshape(shape, order="F" if fortran else "C")


def array_to_bytes(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """Return an array as ``.npy`` bytes, format version 1.0."""
    buffer = io.BytesIO()
    npy.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _loads(body: bytes) -> Any:
    if not body:
        raise falcon.MediaNotFoundError("JSON")
    try:
        return orjson.loads(body)  # refuses nesting deeper than 1024
    except orjson.JSONDecodeError as ex:
        raise falcon.MediaMalformedError("JSON") from ex


def _unprocessable(detail: str) -> falcon.HTTPUnprocessableEntity:
    return falcon.HTTPUnprocessableEntity(title="Unusable array", description=detail)
