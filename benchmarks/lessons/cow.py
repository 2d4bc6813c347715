"""What a forked child really copies. A process of its own.

    python -m benchmarks.lessons.cow MEGABYTES

Allocates an array and a list of Python numbers, forks a child per use of them,
and prints one line of JSON: private bytes that each use cost its child.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable

import numpy as np

from hybrid.bench.server.procfs import private_bytes
from hybrid.system.process.fork import fork_child


def cost_of(use: Callable[[], object]) -> int:
    """Return the private bytes that `use` adds in a forked child."""
    reader, writer = os.pipe()

    def child() -> int:
        before = private_bytes(os.getpid())
        use()
        os.write(writer, str(private_bytes(os.getpid()) - before).encode())
        return 0

    made = fork_child(child, keep=[writer])
    os.close(writer)
    with os.fdopen(reader) as answers:
        found = answers.read()
    os.waitpid(made.pid, 0)
    if made.pidfd >= 0:
        os.close(made.pidfd)
    return int(found)


def main() -> None:
    """Measure the four uses."""
    size = int(sys.argv[1]) * 1_000_000
    array = np.ones(size // 8)
    numbers = [float(k) for k in range(size // 32)]  # 24 bytes each, and 8 in the list
    gc.collect()
    gc.freeze()

    def write() -> None:
        array[:] = 2.0

    found = {
        "nothing": cost_of(lambda: None),
        "read the array": cost_of(array.sum),
        "read the list": cost_of(lambda: sum(numbers)),
        "write the array": cost_of(write),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
