"""Time one function alone and twice at once; a process of its own.

    python -m hybrid.bench.advise.timejob module:function [seconds]

Prints one line of JSON. Two threads tell whether the function releases the
interpreter lock: 2.0 is perfect, 1.0 means that it holds the lock throughout.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from statistics import fmean, pvariance
from typing import Any


def time_job(target: str, seconds: float) -> dict[str, float]:
    """Return mean time, its variability, and the speed-up of two threads.

    Args:
        target: ``module:function``; it is called without arguments.
        seconds: spent on each of the two measurements.
    """
    module, _, name = target.partition(":")
    function: Callable[[], Any] = getattr(import_module(module), name)
    result = function()  # warm: imports, caches
    alone = _repeat(function, seconds)
    mean = fmean(alone)
    both: list[list[float]] = [[], []]
    threads = [
        threading.Thread(target=lambda k=k: both[k].extend(_repeat(function, seconds)))
        for k in range(2)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(map(len, both)) / (time.perf_counter() - started)
    return {
        "mean": mean,
        "scv": pvariance(alone) / mean**2,
        "speedup": rate * mean,
        "bytes": float(len(pickle.dumps(result, protocol=5))),
    }


def _repeat(function: Callable[[], Any], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        at = time.perf_counter()
        function()
        times.append(time.perf_counter() - at)
    return times


def main() -> int:
    """Print the timing of the function named on the command line."""
    sys.path.insert(0, os.getcwd())
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    print(json.dumps(time_job(sys.argv[1], seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
