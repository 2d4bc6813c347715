from __future__ import annotations

import sys

from hybrid import cluster
from hybrid.config import Config, RestartConfig
from tests.cluster.scripts.common import say

config = Config(restart=RestartConfig(intensity=3, period=1.0))
primary = cluster.Primary(config=config)
primary.on("exit")(lambda worker, code, signal: (say("died", worker.slot), primary.fork(fail)))


def fail():
    raise ConnectionError("no database")


primary.fork(fail)
sys.exit(primary.run())
