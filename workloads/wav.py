"""Recordings: RIFF/WAVE bodies to samples.

Sizes in the file are believed only as far as bytes are there.
Source: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991;
WAVEFORMATEXTENSIBLE: "Multiple channel audio data and WAVE files", 2007.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_EXTENSIBLE = 0xFFFE
_LOUDEST = np.float32(1e6)  # of float samples, whose sums and squares must stay finite
_SILENCE = np.float32(128)  # the middle of unsigned 8-bit samples


def samples_from_wav(body: bytes | memoryview) -> tuple[NDArray[np.float32], int]:
    """Return one channel (the mean of all) and the sampling rate in hertz.

    Returns:
        samples: shape (n,), float32, full scale ±1.
        rate: hertz.

    Raises:
        ValueError: no WAVE file, a coding other than PCM of 8, 16, 24 or 32 bits
            and float of 32 or 64, or no complete sample.

    Cost: O(n); at most 16 bytes of scratch memory per byte of the body.
    """
    body = memoryview(body)
    if len(body) < 12 or bytes(body[:4]) != b"RIFF" or bytes(body[8:12]) != b"WAVE":
        raise ValueError("the body is not a RIFF/WAVE file")
    chunks = _chunks(body)
    if b"fmt " not in chunks or len(chunks[b"fmt "]) < 16:
        raise ValueError("the WAVE file has no format chunk")
    if b"data" not in chunks:
        raise ValueError("the WAVE file has no data chunk")
    coding, channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if coding == _EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        (coding,) = struct.unpack("<H", chunks[b"fmt "][24:26])
    whole = bits >= 8 and block == channels * bits // 8  # below a byte a block would be empty
    if not 1 <= channels <= 64 or not 1 <= rate <= 1_000_000 or not whole:
        raise ValueError(f"{channels} channels of {bits} bits at {rate} Hz make no sense")
    flat = _decode(chunks[b"data"], coding, bits, block)
    return flat.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate


def _chunks(body: memoryview) -> dict[bytes, memoryview]:
    """Return the first chunk of each name; a size beyond the end is cut to what is there."""
    found: dict[bytes, memoryview] = {}
    at = 12
    while at + 8 <= len(body):
        name = bytes(body[at : at + 4])
        (size,) = struct.unpack_from("<I", body, at + 4)
        found.setdefault(name, body[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _decode(data: memoryview, coding: int, bits: int, block: int) -> NDArray[np.float32]:
    usable = len(data) - len(data) % block
    if usable == 0:
        raise ValueError("the WAVE file holds no complete sample")
    data = data[:usable]
    match coding, bits:
        case (1, 8):  # the only unsigned one
            return (np.frombuffer(data, np.uint8).astype(np.float32) - _SILENCE) / _SILENCE
        case (1, 16):
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)
        case (1, 24):
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
        case (1, 32):
            return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)
        case (3, 32 | 64):
            with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: infinite
                floats = np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
            return np.nan_to_num(floats, posinf=1.0, neginf=-1.0).clip(-_LOUDEST, _LOUDEST)
    raise ValueError(f"coding {coding} with {bits} bits is not supported; send PCM or float")
