"""Numpy functions that know nothing of hybrid: each in a module, next to its slow reference.

`matmul svd fft sort montecarlo primes sleep` make their input from `n` and
`seed`; `spectrogram hillshade pca nearest` work on arrays that somebody sends.
A `reference_<name>` is the specification: slow, plain Python, no trick.
"""
