"""The kernels as jobs. This is the module that pool processes import: numpy, no Falcon."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hybrid
from workloads.kernels.fft import fft
from workloads.kernels.hillshade import hillshade
from workloads.kernels.matmul import matmul
from workloads.kernels.montecarlo import montecarlo
from workloads.kernels.nearest import nearest, vectors
from workloads.kernels.pca import pca
from workloads.kernels.primes import primes
from workloads.kernels.sleep import sleep
from workloads.kernels.sort import sort
from workloads.kernels.spectrogram import spectrogram
from workloads.kernels.svd import svd
from workloads.pictures import relief_picture, sound_picture
from workloads.wav import samples_from_wav


@dataclass(frozen=True)
class Synthetic:
    """A kernel that makes its own input: what `n` may be."""

    job: hybrid.Job
    least: int
    most: int
    default: int


@hybrid.job(releases_gil=True, name="montecarlo")
def montecarlo_job(n: int, seed: int) -> dict[str, float]:
    """Return π by `n` random points, and report how far it is."""
    return montecarlo(n, seed, hybrid.progress)


@hybrid.job(name="primes")
def primes_job(n: int, seed: int) -> dict[str, int]:
    """Return the count of primes up to `n`, and report how far it is."""
    return primes(n, seed, hybrid.progress)


@hybrid.job(releases_gil=True, waits=True, name="sleep")
def watched_sleep(ms: float) -> dict[str, float]:
    """Wait, and report how far it is; takes a slot, but no permit."""
    return sleep(ms, hybrid.progress)


SYNTHETIC = {
    "matmul": Synthetic(hybrid.job(matmul, releases_gil=True), 1, 2000, 300),
    "svd": Synthetic(hybrid.job(svd, releases_gil=True), 1, 1000, 200),
    "fft": Synthetic(hybrid.job(fft, releases_gil=True), 2, 4_000_000, 200_000),
    "sort": Synthetic(hybrid.job(sort, releases_gil=True), 1, 10_000_000, 500_000),
    "montecarlo": Synthetic(montecarlo_job, 2, 50_000_000, 1_000_000),
    "primes": Synthetic(primes_job, 2, 5_000_000, 200_000),
}

WAITING = hybrid.job(sleep, waits=True, releases_gil=True)  # takes a slot, but no permit
SERVING = hybrid.job(sleep, releases_gil=True, name="sleep")  # takes both


@hybrid.job(releases_gil=True)
def spectrogram_job(wav: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the spectrogram of a WAVE file's bytes in dB, shape (frequencies, frames)."""
    samples, _ = samples_from_wav(wav.data)
    return spectrogram(samples)


@hybrid.job(releases_gil=True)
def spectrogram_png(wav: NDArray[np.uint8]) -> bytes:
    """Return the spectrogram as a picture."""
    return sound_picture(spectrogram_job(wav))


@hybrid.job(releases_gil=True)
def hillshade_job(elevation: NDArray[Any]) -> NDArray[np.float32]:
    """Return the shading, 0 … 1, shape of the model."""
    return hillshade(elevation, exaggeration=2.0)


@hybrid.job(releases_gil=True)
def hillshade_png(elevation: NDArray[Any]) -> bytes:
    """Return the shaded relief as a picture."""
    return relief_picture(elevation, hillshade_job(elevation))


@hybrid.job(releases_gil=True)
def pca_job(table: NDArray[Any]) -> dict[str, Any]:
    """Return the first components as arrays by name."""
    return asdict(pca(table, k=min(3, *table.shape) if table.ndim == 2 else 1))


@cache
def catalogue() -> NDArray[np.float32]:
    """Return the matrix of `nearest_job`: one physical copy for all processes of this host."""
    return hybrid.resident("vectors", vectors)


@hybrid.job(releases_gil=True)
def nearest_job(queries: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return row numbers and distances of the five nearest rows of the catalogue."""
    rows, distances = nearest(queries, catalogue(), k=5)
    return {"rows": rows, "distances": distances}


@dataclass(frozen=True)
class Real:
    """A kernel that works on what is sent."""

    job: hybrid.Job
    array: str | None = None  # which part of the result is answered as npy; None: all of it
    picture: hybrid.Job | None = None  # the same, drawn: one job, so one deadline and one lane


REAL = {
    "spectrogram": Real(spectrogram_job, picture=spectrogram_png),
    "hillshade": Real(hillshade_job, picture=hillshade_png),
    "pca": Real(pca_job, array="scores"),
    "nearest": Real(nearest_job, array="rows"),
}
