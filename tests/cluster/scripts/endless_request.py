from __future__ import annotations

import asyncio
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say


async def endless(request):
    say("begun")
    await asyncio.sleep(60)


primary = cluster.Primary("127.0.0.1:0")
primary.on("listening")(lambda worker, address: say(address))
primary.on("drain")(lambda worker: say("drains"))
primary.fork(cluster.serve_function, endless)
sys.exit(primary.run())
