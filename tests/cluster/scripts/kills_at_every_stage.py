from __future__ import annotations

import os
import sys

from hybrid import cluster

# Deaths by this hand are nobody's fault: no back-off.
from hybrid.core.workers.restart import RestartPolicy
from tests.cluster.scripts.common import say, serve

RestartPolicy.delay = lambda self, failures, jitter: 0.0
primary = cluster.Primary("127.0.0.1:0")

for stage, name in enumerate(("fork", "online", "listening")):

    @primary.on(name)
    def kill(worker, address=None, stage=stage):
        if worker.id <= 60 and worker.id % 3 == stage:
            worker.kill()
        elif address and worker.id == 63:
            say(address)


@primary.on("exit")
def again(worker, code, signal):
    say("fds", len(primary.workers), len(os.listdir("/proc/self/fd")))
    primary.fork(serve)


for _ in range(3):
    primary.fork(serve)
sys.exit(primary.run())
