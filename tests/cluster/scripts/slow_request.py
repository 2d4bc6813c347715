from __future__ import annotations

import asyncio
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say


async def slow(request):
    say("begun")
    await asyncio.sleep(0.5)
    return "done"


primary = cluster.Primary("127.0.0.1:0")
primary.on("listening")(lambda worker, address: say(address))
primary.on("exit")(lambda worker, code, signal: say("exit", code))
primary.fork(cluster.serve_function, slow)
sys.exit(primary.run())
