from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import say, serve

try:
    cluster.Primary(f"127.0.0.1:{sys.argv[1]}")
except Exception as ex:
    say(type(ex).__name__, ex)
primary = cluster.Primary("127.0.0.1:0")
primary.on("listening")(lambda *args: (say("listening"), primary.disconnect()))
primary.fork(serve)
sys.exit(primary.run())
