"""A service time that needs no core: turns a pool into a textbook queue."""

from __future__ import annotations

import time
from collections.abc import Callable

SLICE = 0.1  # s between two reports


def sleep(ms: float, report: Callable[[float], None] | None = None) -> dict[str, float]:
    """Wait, as a job that is served elsewhere would.

    With it a pool of c slots is a true c-server queue whatever the number of cores,
    so its waiting times can be held against Erlang's formulas.

    Args:
        ms: how long, in milliseconds.
        report: is told every SLICE which share of the wait is over, 0 … 1; without it
            the wait is one call.

    Returns:
        ``ms``: as asked.

    Cost: no processor time to speak of; the kernel's timer slack adds about 60 µs.

    GIL: released for the whole wait.

    Source: A. K. Erlang, "Solution of some problems in the theory of probabilities of
    significance in automatic telephone exchanges", Post Office Electrical Engineers'
    Journal 10, 1917, pp. 189-197 (the queue that it makes).
    """
    if report is None:
        time.sleep(ms / 1000)
        return {"ms": ms}
    began = time.monotonic()
    while (waited := time.monotonic() - began) < ms / 1000:
        report(waited / (ms / 1000))
        time.sleep(min(SLICE, ms / 1000 - waited))
    return {"ms": ms}


def reference_sleep(ms: float) -> dict[str, float]:
    """Look at the clock until the time is up; burns a core and holds the GIL."""
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        pass
    return {"ms": ms}
