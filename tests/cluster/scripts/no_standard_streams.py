from __future__ import annotations

import os
import sys

from hybrid import cluster

for number in (0, 1, 2):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None


def work():
    with open(sys.argv[1], "w") as file:
        file.write(" ".join(os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)))


primary = cluster.Primary("127.0.0.1:0")
primary.fork(work)
sys.exit(primary.run())
