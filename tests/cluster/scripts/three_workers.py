from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import say, serve, tell

primary = tell(cluster.Primary("127.0.0.1:0"))
for _ in range(3):
    worker = primary.fork(serve)
    say("alive", worker.exited_after_disconnect, worker.state.value)
sys.exit(primary.run())
