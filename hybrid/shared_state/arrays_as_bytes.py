"""Arrays as values: the ``.npy`` format. Nothing is ever unpickled."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def bytes_of(array: NDArray[Any]) -> bytes:
    """Return an array as bytes.

    Raises:
        ValueError: it holds Python objects.
    """
    buffer = io.BytesIO()
    npy.write_array(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def array_of(value: bytes) -> NDArray[Any]:
    """Return the array of such bytes, read-only.

    Raises:
        ValueError: they are not an array.
    """
    array: NDArray[Any] = npy.read_array(io.BytesIO(value), allow_pickle=False)
    array.flags.writeable = False
    return array
