from __future__ import annotations

import os
import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say
from tests.pool.jobs import pid


async def compute(request):
    return [await hybrid.submit(pid, lane="process"), os.getpid()]


async def work():
    await cluster.serve_function(compute)


primary = cluster.Primary("127.0.0.1:0")
primary.on("listening")(lambda worker, address: say(address))
primary.on("exit")(lambda worker, code, signal: say("exit", code, signal))
primary.fork(work)
sys.exit(primary.run())
