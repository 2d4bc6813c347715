from __future__ import annotations

import os
import signal
import sys

from hybrid import cluster
from tests.cluster.scripts.common import hello, tell


async def leave():
    os.kill(os.getpid(), signal.SIGTERM)
    await cluster.serve_function(hello)


primary = tell(cluster.Primary("127.0.0.1:0"))


@primary.on("online")
def end(worker):
    worker.disconnect()
    if worker.id == 8:
        primary.disconnect()
        os.kill(os.getpid(), signal.SIGTERM)


for _ in range(8):
    primary.fork(leave)
sys.exit(primary.run())
