from __future__ import annotations

import asyncio
import sys
import time

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say

ASKED = "primary" if sys.argv[1] == "primary" else int(sys.argv[1])
BIG = "x" * 60_000
primary = cluster.Primary()
primary.on("message")(lambda worker, message: message.reply(BIG))


async def answer():
    async for message in cluster.messages():
        message.reply(BIG)


def read_nothing():
    time.sleep(1.0)


async def ask():
    async for _ in cluster.messages():
        asks = [asyncio.ensure_future(cluster.request(ASKED, n, 30)) for n in range(200)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        read_nothing()
        results = await asyncio.gather(*asks, return_exceptions=True)
        dropped = [r for r in results if isinstance(r, hybrid.RequestFailed)]
        say("whole", results.count(BIG), "dropped", len(dropped), str(dropped[0]))


primary.on("ready")(lambda worker: worker.slot == 2 and primary.workers[1].send("begin"))
primary.fork(ask)
primary.fork(answer)
sys.exit(primary.run())
