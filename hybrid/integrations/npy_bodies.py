"""Arrays as bodies, for frameworks whose errors are not Falcon's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import falcon
import numpy as np
from numpy.typing import NDArray

from hybrid.api.npy import NPY, array_from_bytes, array_from_stream, array_to_bytes, npy_body
from hybrid.errors import HybridError
from hybrid.http.problem import problem

__all__ = ["NPY", "ArrayAnswer", "UnusableArray", "array_of", "read_array"]


class UnusableArray(HybridError):
    """The body is not an array of plain numbers; HTTP 422. The message is for the client."""

    status = 422

    def body(self, request_id: str) -> bytes:
        """Return the problem document."""
        return problem(self.status, "Unusable array", str(self), request_id)


async def read_array(stream: AsyncIterator[bytes], length: str | None) -> NDArray[Any]:
    """Return the array of a body that is still arriving, read-only; a large one in the arena.

    Args:
        stream: the pieces.
        length: the Content-Length header.

    Raises:
        UnusableArray: the body is not an array of plain numbers.
    """
    size = int(length) if length is not None and length.isdigit() else None
    try:
        return await array_from_stream(stream, size)
    except falcon.HTTPUnprocessableEntity as ex:
        raise UnusableArray(ex.description) from None


def array_of(body: bytes) -> NDArray[Any]:
    """Return the array of a whole body, read-only.

    Raises:
        UnusableArray: the body is not an array of plain numbers.
    """
    try:
        return array_from_bytes(body)
    except falcon.HTTPUnprocessableEntity as ex:
        raise UnusableArray(ex.description) from None


class ArrayAnswer:
    """An array as an answer of known length, written from where the array lies."""

    def __init__(self, array: Any) -> None:
        array = np.asarray(array)
        self._large = npy_body(array)
        self._small = b"" if self._large is not None else array_to_bytes(array)
        self.size = self._large.size if self._large is not None else len(self._small)

    def pieces(self, *, as_views: bool) -> Iterator[Any]:
        """Return the pieces of the body.

        Args:
            as_views: the server takes views of memory; otherwise the pieces are bytes.
        """
        if self._large is None:
            yield self._small
            return
        for piece in self._large.pieces():
            yield piece if as_views else bytes(piece)

    async def send(self, send: Any, scope: Mapping[str, Any]) -> None:
        """Send the body of an ASGI answer whose head is sent."""
        for piece in self.pieces(as_views=takes_views(scope)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def takes_views(scope: Mapping[str, Any]) -> bool:
    """Return whether the server is hybrid's; ASGI asks for bytes, which is a copy."""
    return "hybrid.departure" in (scope.get("extensions") or ())
