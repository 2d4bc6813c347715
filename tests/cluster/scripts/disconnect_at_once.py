from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import say, serve

primary = cluster.Primary("127.0.0.1:0")


@primary.on("listening")
def leave(worker, address):
    say(worker.state.value, worker.is_connected, worker.is_dead)
    worker.disconnect()
    say(worker.state.value, worker.is_connected, worker.is_dead, worker.exited_after_disconnect)


primary.on("exit")(lambda worker, *how: say(worker.state.value, worker.exited_after_disconnect))
primary.fork(serve)
sys.exit(primary.run())
