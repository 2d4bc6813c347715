"""What each kernel gains over its slow reference, on the same small input.

Inputs are as small as the references need. `make bench` runs this.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workloads.kernels.nearest import vectors

_random = np.random.default_rng(7)
INPUTS: dict[str, tuple[Any, ...]] = {
    "matmul": (60, 1),
    "svd": (20, 1),
    "fft": (256, 1),
    "sort": (1000, 1),
    "montecarlo": (20_000, 1),
    "primes": (2000, 1),
    "sleep": (1.0,),
    "hillshade": (_random.normal(500, 50, (40, 40)),),
    "spectrogram": (_random.normal(0, 0.1, 512).astype(np.float32), 64),
    "pca": (_random.uniform(-1, 1, (40, 4)) * [1, 10, 100, 1000], 2),
    "nearest": (_random.normal(size=(1, 64)), vectors()),
}


def load(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a kernel's module."""
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"workloads.kernels.{module}"), name
    )
    return found


@pytest.mark.parametrize("version", ["numpy", "reference"])
@pytest.mark.parametrize("kernel", INPUTS)
def test_kernel(benchmark: Any, kernel: str, version: str) -> None:
    benchmark.group = kernel
    name = kernel if version == "numpy" else f"reference_{kernel}"
    benchmark.pedantic(load(kernel, name), args=INPUTS[kernel], rounds=5, warmup_rounds=1)
