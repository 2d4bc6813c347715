"""The same crossings through `concurrent.futures`: pickle and pipes. A process of its own.

    python -m benchmarks.lessons.stdlib_hop TIMES BYTES ...

Prints one line of JSON: seconds of each crossing, a list per size.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.lessons.jobs import negative


async def measure(sizes: list[int], times: int) -> list[list[float]]:
    """Return the seconds of `times` crossings of each size, from an event loop."""
    loop = asyncio.get_running_loop()
    # Forked now, while this process has one thread: the quickest start there is.
    context = multiprocessing.get_context("fork")
    found = []
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for size in sizes:
            payload = np.ones(max(size // 8, 1))
            await loop.run_in_executor(pool, negative, payload)
            mine = []
            for _ in range(times):
                began = time.perf_counter()
                await loop.run_in_executor(pool, negative, payload)
                mine.append(time.perf_counter() - began)
            found.append(mine)
    return found


if __name__ == "__main__":
    count, *wanted = (int(word) for word in sys.argv[1:])
    print(json.dumps(asyncio.run(measure(wanted, count))))
