from __future__ import annotations

import sys
import time

from hybrid import cluster
from hybrid.config import Config
from tests.cluster.scripts.common import say, serve

primary = cluster.Primary("127.0.0.1:0", config=Config(scheduling=sys.argv[1]))
primary.on("listening")(lambda worker, address: say("listening", worker.pid, address))


@primary.on("exit")
def again(worker, code, signal):
    time.sleep(0.3)  # nobody is there meanwhile
    primary.fork(serve)


primary.fork(serve)
sys.exit(primary.run())
