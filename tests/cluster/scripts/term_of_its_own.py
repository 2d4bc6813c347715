from __future__ import annotations

import asyncio
import signal
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say, tell


async def jobs():
    async for message in cluster.messages():
        await asyncio.sleep(0.2)
        say("did", message.body)


primary = tell(cluster.Primary())
worker = primary.fork(jobs)
for job in range(3):
    worker.send(job)
primary.on("ready")(lambda worker: worker.kill(signal.SIGTERM))
sys.exit(primary.run())
