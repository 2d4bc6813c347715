"""Bodies: ``.npy`` arrays and JSON.

An array from the network is looked at before it is believed: its header says
how many bytes must follow, and exactly those must be there. Nothing is
allocated for what a header merely claims, and nothing is ever unpickled.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
import struct
import sys
from typing import Any

import falcon
import falcon.media
import numpy as np
import orjson
from numpy.lib import format as npy

NPY = "application/x-npy"
_MAX_HEADER = 10_000  # bytes; numpy's own bound for headers it parses
_MAX_AXES = 8
_LENGTH = {(1, 0): "<H", (2, 0): "<I"}  # how each format version writes the header's length
_NUMBER = re.compile(r"[<>|=]?[biufc][0-9]{1,2}")


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
        return orjson.dumps(media, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def array_from_bytes(body: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the array that an ``.npy`` body holds, without copying it.

    Raises:
        falcon.HTTPUnprocessableEntity: no such body; an object or structured
            dtype; a shape that needs more or fewer bytes than there are.
    """
    text, start = _npy_header(body)
    try:
        fields = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as ex:
        raise _unprocessable("the npy header is no Python literal") from ex
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise _unprocessable("an npy header has descr, fortran_order and shape, nothing else")
    dtype, shape = _plain_dtype(fields["descr"]), _possible_shape(fields["shape"])
    there = len(body) - start
    needed = math.prod(shape) * dtype.itemsize  # Python integers: cannot overflow
    if needed != there:
        raise _unprocessable(
            f"shape {str(shape)[:80]} of {dtype} needs {needed} bytes, the body has {there}"
        )
    flat = np.frombuffer(body, dtype=dtype, offset=start, count=math.prod(shape))
    return flat.reshape(shape, order="F" if fields["fortran_order"] is True else "C")


def _npy_header(body: bytes) -> tuple[str, int]:
    """Return the header's text, and where the data begins.

    Why not numpy's own reader: on a header that does not parse it tries again as if
    Python 2 had written it, which warns, and lets errors of the tokenizer through.
    Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    if len(body) < 10 or body[:6] != b"\x93NUMPY":
        raise _unprocessable("the body is no npy array: it does not begin as one")
    version = (body[6], body[7])
    if version not in _LENGTH:  # 3.0 differs only for structured dtypes, refused anyway
        raise _unprocessable(f"npy format version {body[6]}.{body[7]} is not supported")
    length_format = _LENGTH[version]
    begin = 8 + struct.calcsize(length_format)
    if len(body) < begin:
        raise _unprocessable("the npy header is cut off")
    (length,) = struct.unpack_from(length_format, body, 8)
    if length > min(_MAX_HEADER, len(body) - begin):
        raise _unprocessable(f"an npy header of {length} bytes is cut off or too long")
    return body[begin : begin + length].decode("latin-1").strip(), begin + length


def _plain_dtype(descr: object) -> np.dtype[Any]:
    """Return the dtype; only numbers: no objects, text, dates, records or sub-arrays."""
    if isinstance(descr, str) and _NUMBER.fullmatch(descr):
        with contextlib.suppress(TypeError):  # such as "f3"
            return np.dtype(descr)
    raise _unprocessable(f"arrays of dtype {str(descr)[:80]!r} are not taken; send plain numbers")


def _possible_shape(shape: object) -> tuple[int, ...]:
    if (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_AXES
        and all(type(n) is int and 0 <= n <= sys.maxsize for n in shape)
        and math.prod(n for n in shape if n) <= sys.maxsize // 32  # numpy's bound; 0 hides it
    ):
        return shape
    raise _unprocessable(f"shape {str(shape)[:80]} is not possible")


def array_to_bytes(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """Return an array as ``.npy`` bytes, format version 1.0."""
    buffer = io.BytesIO()
    npy.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """Return what orjson does not write by itself: arrays in another memory order."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _loads(body: bytes) -> Any:
    if not body:
        raise falcon.MediaNotFoundError("JSON")
    try:
        return orjson.loads(body)  # refuses nesting deeper than 1024
    except orjson.JSONDecodeError as ex:
        raise falcon.MediaMalformedError("JSON") from ex


def _unprocessable(detail: str) -> falcon.HTTPUnprocessableEntity:
    return falcon.HTTPUnprocessableEntity(title="Unusable array", description=detail)
