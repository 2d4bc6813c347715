"""Arrays as PNG pictures. Runs inside jobs; Pillow and zlib release the GIL while they encode."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDEST = 2400  # pixels; a longer recording keeps the loudest of the frames that share one
NARROWEST = 600  # pixels; the frames of a shorter one are drawn wider
RANGE = 72.0  # dB between the loudest moment and black
GAMMA = 0.7  # lifts the shadows, so that valleys keep their colour

# Colours at even distances, low to high, red green blue. The first from valley green over
# ochre to bare rock and snow; the second dark to bright with rising lightness throughout, so
# that it reads in grey and for the colour-blind (the idea of M. Niccoli, B. Moreland and
# others: https://www.kennethmoreland.com/color-advice/).
RELIEF = ((92, 128, 92), (150, 170, 110), (214, 200, 140), (190, 150, 110), (240, 238, 232))
SOUND = ((4, 4, 20), (50, 18, 92), (135, 38, 108), (212, 72, 66), (250, 155, 40), (252, 255, 190))


def relief_picture(elevation: NDArray[Any], shade: NDArray[np.float32]) -> bytes:
    """Return a PNG of the relief: coloured by height, lit by `shade`.

    Args:
        elevation: heights, shape (rows, columns). Not changed.
        shade: 0 … 1, the same shape. A cell that is NaN in either is black.

    Cost: O(cells) time; about 60 bytes a cell at peak.
    """
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # too large for float32: infinite, so unknown
        heights = elevation.astype(np.float32)
    known = np.isfinite(heights)
    low, high = np.percentile(heights[known], (1, 99)) if known.any() else (0.0, 1.0)
    colours = _coloured(heights, float(low), float(high), RELIEF)
    light = np.nan_to_num(shade) ** np.float32(GAMMA)
    return _png(np.where(known, light, 0)[:, :, np.newaxis] * colours)


def sound_picture(decibels: NDArray[np.float32]) -> bytes:
    """Return a PNG of a spectrogram: time to the right, frequency upwards.

    Args:
        decibels: shape (frequencies, frames). Not changed.

    Cost: O(cells) time; about 40 bytes a pixel at peak.
    """
    frames = decibels.shape[1]
    if frames > WIDEST:
        starts = np.linspace(0, frames, WIDEST, endpoint=False).astype(np.intp)
        decibels = np.maximum.reduceat(decibels, starts, axis=1)
    decibels = decibels.repeat(max(1, -(-NARROWEST // decibels.shape[1])), axis=1)
    loudest = float(decibels.max())
    return _png(_coloured(decibels[::-1], loudest - RANGE, loudest, SOUND))


def _coloured(
    values: NDArray[np.float32], low: float, high: float, colours: tuple[tuple[int, ...], ...]
) -> NDArray[np.float32]:
    """Return `values` as colours, shape (rows, columns, 3), 0 … 255; NaN as the lowest."""
    table = np.array(colours, dtype=np.float32)
    places = np.linspace(0, len(table) - 1, 256)
    ramp = np.stack([np.interp(places, range(len(table)), c) for c in table.T], 1)
    within = np.nan_to_num(np.clip(values, low, high), nan=low)
    steps = ((within - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    chosen: NDArray[np.float32] = ramp.astype(np.float32)[steps]
    return chosen


def _png(colours: NDArray[np.float32]) -> bytes:
    # Why here: Pillow costs every process that imports it 8 MB and 25 ms, and few draw.
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8), "RGB").save(buffer, "PNG")
    return buffer.getvalue()
