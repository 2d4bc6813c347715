"""Numpy functions that know nothing of hybrid: each in a module, next to its slow reference.

`matmul svd fft sort montecarlo primes sleep` make their input from `n` and
`seed`; `spectrogram hillshade pca nearest` work on arrays from the request.
A `reference_<name>` is the specification: slow, plain Python, no trick.

How "GIL" was measured in the docstrings (2 cores, Python 3.11, numpy 2.4, one BLAS thread):
a second thread asks for the GIL every 20 µs while the switch interval is 10 s, so it runs
only when the kernel lets go by itself; the longest stretch without it is the hold.
"""
