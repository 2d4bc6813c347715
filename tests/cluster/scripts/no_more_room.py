from __future__ import annotations

import asyncio
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say

primary = cluster.Primary()
try:
    while True:
        primary.fork(asyncio.sleep, 60)
except OSError as ex:
    say("refused:", ex, len(primary.workers))
primary.disconnect()
for worker in primary.workers.values():
    worker.kill()
sys.exit(primary.run())
