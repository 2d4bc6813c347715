"""What is declared to release the GIL does, at every size: no loop beside it starves."""

from __future__ import annotations

import itertools
import sys
import threading
import time

import numpy as np
import pytest

from tests.workloads.test_wav import wav
from workloads import jobs
from workloads.kernels.nearest import WIDTH

_random = np.random.default_rng(7)
SWITCH = 0.005  # s; the interpreter's own patience, which every loop has to live with
SMALL = {  # inputs so small that the Python around numpy is what costs
    "matmul": (8, 1),
    "svd": (8, 1),
    "fft": (64, 1),
    "sort": (100, 1),
    "montecarlo": (100, 1),
    "hillshade": (_random.normal(500, 50, (12, 12)),),
    "spectrogram": (wav(_random.integers(-9999, 9999, 2000).astype("<i2").tobytes()),),
    "pca": (_random.normal(size=(20, 4)),),
    "nearest": (_random.normal(size=(1, WIDTH)),),
}
LARGE = {
    "matmul": (600, 1),
    "svd": (400, 1),
    "fft": (1_000_000, 1),
    "sort": (2_000_000, 1),
    "montecarlo": (2_000_000, 1),
    "hillshade": (_random.normal(500, 50, (1500, 1500)),),
    "spectrogram": (wav(_random.integers(-9999, 9999, 2_000_000).astype("<i2").tobytes()),),
    "pca": (_random.normal(size=(100_000, 20)),),
    "nearest": (_random.normal(size=(600, WIDTH)),),
}


def declared(name):
    """Return the job of a kernel and its arguments as the application passes them."""
    if name in jobs.SYNTHETIC:
        return jobs.SYNTHETIC[name].job
    return jobs.REAL[name].job


def longest_hold(call):
    """Return the longest stretch of one call, in seconds, that nobody else got the GIL.

    With a switch interval of 10 s only what the call gives up by itself counts.
    """
    stamps, span = [], []

    def work():
        began = time.perf_counter()
        call()
        span.extend((began, time.perf_counter()))

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        stamps.append(time.perf_counter())
        thread.join(2e-5)
    inside = [span[0], *(s for s in stamps if span[0] < s < span[1]), span[1]]
    return max(b - a for a, b in itertools.pairwise(inside)), span[1] - span[0]


@pytest.fixture(autouse=True)
def only_voluntary_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(10)
    yield
    sys.setswitchinterval(before)


def arguments(name, inputs):
    return tuple(np.frombuffer(a, np.uint8) if isinstance(a, bytes) else a for a in inputs[name])


def test_every_job_that_is_declared_so_is_checked():
    every = {n for n in (*jobs.SYNTHETIC, *jobs.REAL) if declared(n).releases_gil}
    assert every == set(SMALL) == set(LARGE)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_job_holds_the_gil_no_longer_than_any_python_code(name):
    job, args = declared(name), arguments(name, SMALL)
    job(*args)  # what is made once is made

    assert min(longest_hold(lambda: job(*args))[0] for _ in range(6)) < SWITCH


@pytest.mark.parametrize("name", LARGE)
def test_a_large_job_gives_the_gil_up_for_most_of_its_time(name):
    job, args = declared(name), arguments(name, LARGE)
    job(*args)

    shares = [held / whole for held, whole in (longest_hold(lambda: job(*args)) for _ in range(6))]
    assert min(shares) < 0.5


def test_pure_python_is_caught_by_the_same_measure():
    held, whole = longest_hold(lambda: declared("primes")(200_000, 0))
    assert held > 0.9 * whole
    assert held > SWITCH
