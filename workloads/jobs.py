"""The kernels as jobs. This is the module that pool processes import: numpy, no Falcon."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hybrid
from workloads.kernels.fft import fft
from workloads.kernels.hillshade import hillshade
from workloads.kernels.matmul import matmul
from workloads.kernels.montecarlo import montecarlo
from workloads.kernels.nearest import ROWS, nearest
from workloads.kernels.pca import pca
from workloads.kernels.primes import primes
from workloads.kernels.sleep import sleep
from workloads.kernels.sort import sort
from workloads.kernels.spectrogram import spectrogram
from workloads.kernels.svd import svd


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A kernel that makes its own input: what `n` may be."""

    job: hybrid.Job
    least: int
    most: int
    default: int


SYNTHETIC = {
    "matmul": Synthetic(hybrid.job(matmul, releases_gil=True), 1, 2000, 300),
    "svd": Synthetic(hybrid.job(svd, releases_gil=True), 1, 1000, 200),
    "fft": Synthetic(hybrid.job(fft, releases_gil=True), 2, 4_000_000, 200_000),
    "sort": Synthetic(hybrid.job(sort, releases_gil=True), 1, 10_000_000, 500_000),
    "montecarlo": Synthetic(hybrid.job(montecarlo, releases_gil=True), 2, 50_000_000, 1_000_000),
    "primes": Synthetic(hybrid.job(primes), 2, 5_000_000, 200_000),
}

WAITING = hybrid.job(sleep, waits=True, releases_gil=True)  # takes a slot, but no permit
SERVING = hybrid.job(sleep, releases_gil=True, name="sleep")  # takes both


@hybrid.job(releases_gil=True)
def spectrogram_job(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the spectrogram in dB, shape (frequencies, frames)."""
    return spectrogram(samples)


@hybrid.job(releases_gil=True)
def hillshade_job(elevation: NDArray[Any]) -> NDArray[np.float32]:
    """Return the shading, 0 … 1, shape of the model."""
    return hillshade(elevation, exaggeration=2.0)


@hybrid.job(releases_gil=True)
def pca_job(table: NDArray[Any]) -> dict[str, Any]:
    """Return the first components as arrays by name."""
    return asdict(pca(table, k=min(3, *table.shape) if table.ndim == 2 else 1))


@hybrid.job(releases_gil=True)
def nearest_job(queries: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return row numbers and distances of the five nearest rows."""
    rows, distances = nearest(queries, k=min(5, ROWS))
    return {"rows": rows, "distances": distances}


@hybrid.job(releases_gil=True)
def picture_job(values: NDArray[Any], low: float, high: float, flip: bool) -> bytes:
    """Return a greyscale PNG of a table; Pillow and zlib release the GIL.

    NaN is black. O(cells) time, 2 bytes a cell of scratch memory.
    """
    from PIL import Image

    span = high - low
    scaled = np.nan_to_num((np.clip(values, low, high) - low) * (255 / span)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(scaled[::-1] if flip else scaled).save(buffer, "PNG")
    return buffer.getvalue()


REAL = {
    "spectrogram": spectrogram_job,
    "hillshade": hillshade_job,
    "pca": pca_job,
    "nearest": nearest_job,
}
