"""Every kernel against its slow reference: `make bench`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

SIZES = {"matmul": 60, "svd": 20, "fft": 500, "sort": 2000, "montecarlo": 20_000, "primes": 2000}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("version", ["reference", "kernel"])
def test_kernel(benchmark: Any, name: str, version: str) -> None:
    """Time one call on the same input."""
    module = import_module(f"workloads.kernels.{name}")
    prefix = "reference_" if version == "reference" else ""
    function: Callable[..., Any] = getattr(module, prefix + name)
    benchmark.group = name
    assert benchmark(function, SIZES[name], 1)
