"""The ``.npy`` format for bodies from and to the network.

The header of a body says how many bytes must follow; the body is refused unless
it has exactly those. Memory is allocated only after that check, and nothing is
ever unpickled.
Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import falcon
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hybrid.pool.submit import arena_alloc
from hybrid.system.memory.arena import LARGE

NPY = "application/x-npy"
_PIECE = 1 << 20  # bytes of an answer that are passed to the connection at once
_MAX_HEADER = 10_000  # bytes; numpy's own bound for headers it parses
_MAX_AXES = 8
_LENGTH = {(1, 0): "<H", (2, 0): "<I"}  # how each format version writes the header's length
_NUMBER = re.compile(r"[<>|=]?[biufc][0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class Layout:
    """What an npy header says."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    start: int  # bytes of the header

    @property
    def count(self) -> int:
        """How many numbers the array has."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of the whole body; a Python integer, which cannot overflow."""
        return self.start + self.count * self.dtype.itemsize

    def check(self, there: int) -> None:
        """Raise unless `there`, the bytes of the body, is what the header demands."""
        if self.size != there:
            raise _unprocessable(
                f"shape {_shown(self.shape)} of {self.dtype} needs {self.size - self.start} "
                f"bytes, the body has {there - self.start}"
            )

    def shaped(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return `flat` in the header's shape, read-only."""
        array = flat.reshape(self.shape, order="F" if self.is_fortran else "C")
        array.flags.writeable = False
        return array


def array_from_bytes(body: bytes) -> NDArray[Any]:
    """Return the array that an ``.npy`` body holds, without copying it.

    Raises:
        falcon.HTTPUnprocessableEntity: not an npy body; an object or structured
            dtype; a shape that needs more or fewer bytes than the body has.
    """
    layout = _read_layout(body)
    layout.check(len(body))
    return layout.shaped(
        np.frombuffer(body, dtype=layout.dtype, offset=layout.start, count=layout.count)
    )


async def array_from_stream(stream: AsyncIterator[bytes], length: int | None) -> NDArray[Any]:
    """Return the array of a body that is still arriving; read-only.

    A large one is copied piece by piece into a block of the worker's arena, which
    a pool process can read: the body never exists in one piece elsewhere.

    Args:
        stream: the pieces.
        length: Content-Length; None if the body is chunked: then it is joined first.

    Raises:
        falcon.HTTPUnprocessableEntity: as `array_from_bytes`.
    """
    pieces = aiter(stream)
    if length is None or length < LARGE:
        return array_from_bytes(b"".join([piece async for piece in pieces]))
    head = b""
    async for piece in pieces:
        head += piece
        if len(head) >= _head_size(head):
            break
    layout = _read_layout(head)
    layout.check(length)
    array = arena_alloc((layout.count,), layout.dtype)
    raw = array.view(np.uint8).data
    at = len(head) - layout.start
    raw[:at] = memoryview(head)[layout.start :]
    async for piece in pieces:
        raw[at : at + len(piece)] = piece
        at += len(piece)
    layout.check(layout.start + at)
    return layout.shaped(array)


def _head_size(head: bytes) -> int:
    """Return how many bytes of the body must have come before the header can be read."""
    length_format = _LENGTH.get((head[6], head[7]), "<H") if len(head) >= 8 else "<I"
    begin = 8 + struct.calcsize(length_format)
    if len(head) < begin:
        return begin
    (length,) = struct.unpack_from(length_format, head, 8)
    return begin + min(int(length), _MAX_HEADER)


def _read_layout(body: bytes) -> Layout:
    text, start = _npy_header(body)
    try:
        fields = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as ex:
        raise _unprocessable("the npy header is not a Python literal") from ex
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise _unprocessable("an npy header has descr, fortran_order and shape, nothing else")
    dtype, shape = _plain_dtype(fields["descr"]), _possible_shape(fields["shape"])
    return Layout(dtype, shape, fields["fortran_order"] is True, start)


def _npy_header(body: bytes) -> tuple[str, int]:
    """Return the header's text, and where the data begins.

    numpy's own reader is not used: a header that does not parse it reads again as one of
    Python 2, which warns, and raises the tokenizer's errors.
    """
    if len(body) < 10 or body[:6] != b"\x93NUMPY":
        raise _unprocessable(
            "the body is not an npy array: its first bytes are not those of the format"
        )
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
    """Return the dtype of plain numbers; refuse objects, text, dates, records and sub-arrays."""
    if isinstance(descr, str) and _NUMBER.fullmatch(descr):
        with contextlib.suppress(TypeError):  # such as "f3"
            return np.dtype(descr)
    raise _unprocessable(f"arrays of dtype {_shown(descr)} are not accepted; send plain numbers")


def _possible_shape(shape: object) -> tuple[int, ...]:
    if (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_AXES
        and all(type(n) is int and 0 <= n <= sys.maxsize for n in shape)
        and math.prod(n for n in shape if n) <= sys.maxsize // 32  # numpy's bound; 0 hides it
    ):
        return shape
    raise _unprocessable(f"shape {_shown(shape)} is not possible")


def _shown(sent: object) -> str:
    """Return a value of a header as the text of an error: ASCII, at most 80 characters."""
    try:
        return ascii(sent)[:80]
    except ValueError:  # a hexadecimal literal may be longer than Python writes in decimal
        return "with a number of thousands of digits"


def array_to_bytes(array: NDArray[Any]) -> bytes:
    """Return an array as ``.npy`` bytes, format version 1.0; one copy."""
    buffer = io.BytesIO()
    npy.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class NpyBody:
    """An array as a body that is written without copying the array.

    The array, and so its block of the arena, lives until the last piece is written.
    """

    head: bytes
    raw: memoryview

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.head) + len(self.raw)

    def pieces(self) -> Iterator[memoryview | bytes]:
        """Return the header, then views of the array."""
        yield self.head
        for at in range(0, len(self.raw), _PIECE):
            yield self.raw[at : at + _PIECE]


def npy_body(array: NDArray[Any]) -> NpyBody | None:
    """Return a large array of numbers as a body without copying it; None for other arrays."""
    if array.nbytes < LARGE or array.dtype.hasobject or array.dtype.names:
        return None
    buffer = io.BytesIO()
    fields = npy.header_data_from_array_1_0(array)
    npy.write_array_header_1_0(buffer, fields)
    # An array in neither order is copied once.
    flat = array.T if fields["fortran_order"] else np.ascontiguousarray(array)
    # Read-only: a promise that it does not change before the client has it, so the server need
    # not copy it.
    return NpyBody(buffer.getvalue(), flat.reshape(-1).view(np.uint8).data.toreadonly())


def _unprocessable(detail: str) -> falcon.HTTPUnprocessableEntity:
    return falcon.HTTPUnprocessableEntity(title="Unusable array", description=detail)
