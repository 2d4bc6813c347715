from __future__ import annotations

import sys
import time

from hybrid import cluster
from tests.cluster.scripts.common import say


def block(request):
    say("begun")
    time.sleep(0.5)
    return "answered"


async def work():
    await cluster.serve_function(block)


primary = cluster.Primary("127.0.0.1:0")
primary.on("listening")(lambda worker, address: say("listening", address))
primary.fork(work)
sys.exit(primary.run())
