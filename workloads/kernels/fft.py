"""Discrete Fourier transform."""

from __future__ import annotations

import cmath

import numpy as np

from workloads.kernels.rounding import significant


def fft(n: int, seed: int) -> dict[str, float]:
    """Transform a random real signal and find its strongest frequency.

    Args:
        n: samples; shape (n,), float64, standard normal. Products of small primes are fastest.
        seed: of the random generator.

    Returns:
        ``strongest``: index of the bin with the greatest magnitude, 0 ≤ k ≤ n/2;
        ``magnitude``: of that bin, in the unit of the signal.

    Cost: O(n log n) time for any n (Bluestein's trick where n has a large prime factor);
    20 n bytes at peak (signal 8 n, n/2 complex bins 8 n, their magnitudes 4 n).

    GIL: released inside the transform and the generator. Longest hold by one call, of its time:
    51 % at n = 1000 (0.1 ms), 6 % at n = 10⁵, under 1 % at n = 10⁶.

    Source: J. W. Cooley, J. W. Tukey, "An algorithm for the machine calculation of
    complex Fourier series", Math. Comp. 19, 1965, pp. 297-301.
    """
    signal = np.random.default_rng(seed).standard_normal(n)
    magnitude = np.abs(np.fft.rfft(signal))
    strongest = int(magnitude.argmax())
    return {"strongest": strongest, "magnitude": significant(float(magnitude[strongest]))}


def reference_fft(n: int, seed: int) -> dict[str, float]:
    """Correlate the signal with every wave, one after the other: O(n²)."""
    signal = np.random.default_rng(seed).standard_normal(n).tolist()
    magnitude = [
        abs(sum(x * cmath.exp(-2j * cmath.pi * k * t / n) for t, x in enumerate(signal)))
        for k in range(n // 2 + 1)
    ]
    strongest = max(range(len(magnitude)), key=magnitude.__getitem__)
    return {"strongest": strongest, "magnitude": magnitude[strongest]}
