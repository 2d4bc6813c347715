from __future__ import annotations

import os

from hybrid import cluster
from tests.cluster.scripts.common import say, serve

address, round = "127.0.0.1:0", 0
for round in range(3):
    primary = cluster.Primary(address)
    address = primary.address.removeprefix("http://")
    primary.on("listening")(lambda *args, primary=primary: primary.disconnect())
    primary.fork(serve)
    code = primary.run()
    say("round", round, code, len(os.listdir("/proc/self/fd")))
