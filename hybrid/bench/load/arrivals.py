"""Intended start times: the schedule that the server's slowness must not bend.

Poisson arrivals are what the queueing formulas assume and what many independent
users look like. Constant spacing waits about half as long at the same rate
(its inter-arrival times have no variance), so a result names its arrivals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hybrid.bench.load.plan import ARRIVALS, LoadPlan, Stream

Floats = NDArray[np.float64]


def intended_times(stream: Stream, duration: float, rng: np.random.Generator) -> Floats:
    """Return the start times of one stream, ascending, in [0, duration) seconds.

    Raises:
        ValueError: the arrival process is unknown, or its rate is not positive.
    """
    if stream.arrivals == "trace":
        trace = np.sort(np.asarray(stream.trace, dtype=np.float64))
        return trace[(trace >= 0.0) & (trace < duration)]
    if stream.rate <= 0.0:
        raise ValueError(f"stream {stream.name!r} needs a rate above 0, got {stream.rate:g}/s")
    match stream.arrivals:
        case "poisson":
            return _poisson(stream.rate, duration, rng)
        case "constant":
            return np.arange(0.0, duration, 1.0 / stream.rate)
        case "burst":
            starts = _poisson(stream.rate / stream.burst, duration, rng)
            return np.repeat(starts, stream.burst)
        case other:
            raise ValueError(f"arrivals {other!r} is not one of {', '.join(ARRIVALS)}")


def schedule(plan: LoadPlan) -> tuple[Floats, NDArray[np.uint8]]:
    """Merge the streams of an open-loop plan into one schedule.

    Returns:
        times: shape (n,), ascending, seconds from the start of the run.
        streams: shape (n,), the index of the stream each request belongs to.
    """
    # One generator per stream: adding a stream does not move the others' times.
    roots = np.random.SeedSequence(plan.seed).spawn(len(plan.streams))
    each = [
        intended_times(stream, plan.duration, np.random.default_rng(root))
        for stream, root in zip(plan.streams, roots, strict=True)
    ]
    times = np.concatenate(each)
    streams = np.repeat(np.arange(len(each), dtype=np.uint8), [len(part) for part in each])
    order = np.argsort(times, kind="stable")
    return times[order], streams[order]


def closed_mix(plan: LoadPlan, count: int) -> NDArray[np.uint8]:
    """Return which stream each of `count` closed-loop requests belongs to."""
    weights = np.array([stream.rate or 1.0 for stream in plan.streams])
    rng = np.random.default_rng(plan.seed)
    picks = rng.choice(len(plan.streams), size=count, p=weights / weights.sum())
    return picks.astype(np.uint8)


def _poisson(rate: float, duration: float, rng: np.random.Generator) -> Floats:
    # Given their number, Poisson arrivals are uniform order statistics: exact, and vectorised.
    return np.sort(rng.uniform(0.0, duration, rng.poisson(rate * duration)))
