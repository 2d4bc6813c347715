from __future__ import annotations

import os
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say

primary = cluster.Primary("127.0.0.1:0")


@primary.on("exit")
def again(worker, code, signal):
    if worker.id in (10, 200):
        say("after", worker.id, len(os.listdir("/proc/self/fd")), len(primary.workers))
    if worker.id < 200:
        primary.fork(lambda: None if worker.id % 2 else serve_not())


async def serve_not():
    async for _ in cluster.messages():
        pass


primary.on("ready")(lambda worker: worker.disconnect())
primary.fork(lambda: None)
sys.exit(primary.run())
