"""Each kernel says what its slow reference says, and its docstring says what it costs."""

from __future__ import annotations

import importlib
import itertools
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workloads.kernels.hillshade import hillshade, reference_hillshade
from workloads.kernels.nearest import WIDTH, nearest, reference_nearest, vectors
from workloads.kernels.pca import pca, reference_pca
from workloads.kernels.sleep import reference_sleep, sleep
from workloads.kernels.spectrogram import reference_spectrogram, spectrogram
from workloads.pictures import relief_picture

SYNTHETIC = ("matmul", "svd", "fft", "sort", "montecarlo", "primes")
SIGNALLING = np.frombuffer(b"\x01\0\0\0\0\0\xf0\x7f", np.float64)[0]  # a NaN that casts warn of
EVERY = (*SYNTHETIC, "sleep", "spectrogram", "hillshade", "pca", "nearest")


def load(name, prefix=""):
    return getattr(importlib.import_module(f"workloads.kernels.{name}"), prefix + name)


@pytest.mark.parametrize("name", SYNTHETIC)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 24), seed=st.integers(0, 2**31 - 1))
def test_a_synthetic_kernel_agrees_with_its_reference(name, n, seed):
    assert load(name)(n, seed) == pytest.approx(load(name, "reference_")(n, seed), rel=1e-7)


def test_montecarlo_draws_the_same_points_across_a_block_border():
    n = (1 << 16) + 7
    assert load("montecarlo")(n, 3) == load("montecarlo", "reference_")(n, 3)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_same_seed_gives_the_same_result(name):
    assert load(name)(50, 9) == load(name)(50, 9)


def test_primes_finds_the_known_count():
    assert load("primes")(100_000) == {"count": 9592, "largest": 99_991}


def test_sleep_waits_as_long_as_its_reference():
    for function in (sleep, reference_sleep):
        began = time.monotonic()
        assert function(5.0) == {"ms": 5.0}
        assert time.monotonic() - began >= 0.005


@settings(max_examples=25, deadline=None)
@given(
    elevation=arrays(
        np.int16,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.integers(-400, 8800),
    ),
    azimuth=st.floats(0, 360),
    altitude=st.floats(0, 90),
)
def test_hillshade_agrees_with_its_reference(elevation, azimuth, altitude):
    np.testing.assert_allclose(
        hillshade(elevation, azimuth, altitude),
        reference_hillshade(elevation, azimuth, altitude),
        atol=1e-6,
    )


def test_hillshade_agrees_across_the_border_of_a_band():
    elevation = np.random.default_rng(5).normal(500, 60, (260, 5))
    np.testing.assert_allclose(hillshade(elevation), reference_hillshade(elevation), atol=1e-6)


@pytest.mark.parametrize(
    "odd", [np.nan, SIGNALLING, np.inf, 1e308, np.longdouble("1e4000"), np.longdouble("nan")]
)
def test_an_impossible_height_spoils_its_neighbours_and_warns_of_nothing(odd):
    elevation = np.full((9, 9), 100, np.asarray(odd).dtype)
    elevation[4, 4] = odd
    shade = hillshade(elevation)
    assert np.isfinite(shade[[0, -1]]).all()
    assert relief_picture(elevation, shade)


def test_a_slope_towards_the_sun_is_bright_and_one_away_from_it_dark():
    eastern_rise = np.tile(np.arange(5) * 90.0, (5, 1))
    assert hillshade(eastern_rise, azimuth=270)[2, 2] == pytest.approx(1.0)
    assert hillshade(eastern_rise, azimuth=90)[2, 2] == pytest.approx(0.0)


@settings(max_examples=15, deadline=None)
@given(
    samples=arrays(np.float32, st.integers(1, 60), elements=st.floats(-1, 1, width=32)),
    half=st.integers(1, 8),
)
def test_spectrogram_agrees_with_its_reference(samples, half):
    # In power, not decibels: near silence a decibel magnifies the last bit without bound.
    fast, slow = spectrogram(samples, 2 * half), reference_spectrogram(samples, 2 * half)
    assert fast.shape == slow.shape
    np.testing.assert_allclose(10 ** (fast / 10), 10 ** (slow / 10), rtol=1e-4, atol=1e-9)


def test_a_full_scale_sine_reads_zero_decibels():
    sine = np.sin(2 * np.pi * 32 * np.arange(1024) / 1024).astype(np.float32)
    decibels = spectrogram(sine, 1024)
    assert decibels[:, 0].argmax() == 32
    assert decibels[32, 0] == pytest.approx(0.0, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 30))
def test_pca_agrees_with_its_reference(seed, n):
    # Scales far apart: where two variances are nearly equal, the axes are not determined.
    data = np.random.default_rng(seed).uniform(-1, 1, (n, 4)) * [1.0, 10.0, 100.0, 1000.0]
    fast, slow = pca(data, 2), reference_pca(data, 2)
    np.testing.assert_allclose(fast.variance, slow.variance, rtol=1e-6)
    np.testing.assert_allclose(fast.components, slow.components, atol=1e-6)
    np.testing.assert_allclose(fast.scores, slow.scores, atol=1e-3)
    assert fast.total_variance == pytest.approx(slow.total_variance)


@pytest.mark.parametrize("shape", [(5, 40), (2, 3), (12, 13)])
def test_pca_of_more_variables_than_observations_agrees_too(shape):
    data = np.random.default_rng(3).normal(size=shape) * np.arange(1, shape[1] + 1)
    k = 1 if shape[0] == 2 else 2
    fast, slow = pca(data, k), reference_pca(data, k)
    np.testing.assert_allclose(fast.variance, slow.variance, rtol=1e-6)
    np.testing.assert_allclose(fast.components, slow.components, atol=1e-4)
    assert fast.total_variance == pytest.approx(slow.total_variance)


def test_pca_of_a_very_wide_table_needs_memory_for_the_table_only():
    tracemalloc.start()
    try:
        result = pca(np.random.default_rng(4).normal(size=(3, 200_000)), 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.components.shape == (2, 200_000)
    assert peak < 8 * 8 * 3 * 200_000  # the covariances would be 320 GB


def test_pca_of_a_constant_table_has_no_variance():
    result = pca(np.full((5, 3), 7.0), 2)
    assert result.variance.tolist() == [0.0, 0.0]


def test_nearest_agrees_with_its_reference():
    queries = np.random.default_rng(3).standard_normal((3, WIDTH))
    rows, distances = nearest(queries, vectors(), 4)
    slow_rows, slow_distances = reference_nearest(queries.astype(np.float32), vectors(), 4)
    np.testing.assert_array_equal(rows, slow_rows)
    np.testing.assert_allclose(distances, slow_distances, rtol=1e-5)


def test_a_row_of_the_matrix_is_nearest_to_itself():
    rows, distances = nearest(vectors()[[17, 4, 19_999]], vectors(), 2)
    assert rows[:, 0].tolist() == [17, 4, 19_999]
    assert distances[:, 0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hillshade(np.zeros(4)), "two axes"),
        (lambda: hillshade(np.zeros((0, 4))), "two axes"),
        (lambda: hillshade(np.zeros((2, 2), complex)), "real numbers"),
        (lambda: spectrogram(np.zeros((2, 2), np.float32)), "one axis"),
        (lambda: spectrogram(np.zeros(0, np.float32)), "one axis"),
        (lambda: spectrogram(np.zeros(9, np.float32), 7), "even"),
        (lambda: pca(np.zeros((1, 4))), "at least two rows"),
        (lambda: pca(np.full((3, 3), np.nan)), "NaN"),
        (lambda: pca(np.eye(3) * 1e200), "above"),
        (lambda: pca(np.full((3, 3), np.longdouble("1e4000"))), "infinity"),
        (lambda: pca(np.zeros((3, 2)), 3), "k must be"),
        (lambda: pca(np.zeros((2001, 2001), np.int8)), "at most 2000"),
        (lambda: nearest(np.zeros((1, 3)), vectors()), "64"),
        (lambda: nearest(np.full((1, WIDTH), np.inf), vectors()), "infinity"),
        (lambda: nearest(np.full((1, WIDTH), 1e30), vectors()), "above"),
        (lambda: nearest(np.full((1, WIDTH), SIGNALLING), vectors()), "NaN"),
    ],
)
def test_a_kernel_refuses_what_it_cannot_compute(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("function", [hillshade, pca])
def test_a_kernel_leaves_its_input_alone(function):
    data = np.random.default_rng(1).normal(size=(9, 5))
    data.flags.writeable = False
    function(data)


@pytest.mark.parametrize("name", EVERY)
def test_a_docstring_tells_cost_gil_and_source(name):
    text = load(name).__doc__
    for section in ("Args:", "Returns:", "Cost:", "GIL:", "Source:"):
        assert section in text, f"{name} does not say {section}"
    assert load(name, "reference_").__doc__


def longest_hold(call):
    """Return the greatest share of one call in which no other thread got the GIL.

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
    return max(b - a for a, b in itertools.pairwise(inside)) / (span[1] - span[0])


@pytest.fixture
def only_voluntary_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(10)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("name", "n"),
    [("matmul", 500), ("svd", 300), ("fft", 500_000), ("sort", 1_000_000), ("montecarlo", 10**6)],
)
@pytest.mark.usefixtures("only_voluntary_switches")
def test_a_kernel_declared_to_release_the_gil_does(name, n):
    assert min(longest_hold(lambda: load(name)(n, 0)) for _ in range(6)) < 0.5


@pytest.mark.usefixtures("only_voluntary_switches")
def test_primes_holds_the_gil_from_beginning_to_end():
    assert min(longest_hold(lambda: load("primes")(100_000)) for _ in range(3)) > 0.9
