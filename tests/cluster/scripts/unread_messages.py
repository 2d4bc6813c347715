from __future__ import annotations

import asyncio
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say

primary = cluster.Primary()


async def lazy():
    await cluster.send("primary", "begin")
    await asyncio.sleep(1.5)
    say("read", len([message async for message in cluster.messages()]))


@primary.on("message")
def flood(worker, message):
    for n in range(1100):
        worker.send(n)
    worker.request("one more", lambda reply, error: (say(error), worker.disconnect()))


primary.fork(lazy)
sys.exit(primary.run())
