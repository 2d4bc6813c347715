from __future__ import annotations

import sys

from hybrid import cluster
from hybrid.config import Config, RestartConfig
from tests.cluster.scripts.common import tell

primary = tell(cluster.Primary(config=Config(restart=RestartConfig(graceful_timeout=0.1))))


async def spin(wish):
    await cluster.send("primary", wish)
    while True:
        pass


@primary.on("message")
def obey(worker, message):
    worker.kill() if message.body == "kill" else worker.disconnect()


primary.fork(spin, "kill")
primary.fork(spin, "disconnect")
sys.exit(primary.run())
