from __future__ import annotations

import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say, serve

primary = cluster.Primary()


@primary.on("exit")
def dead(worker, code, signal):
    worker.kill()
    worker.disconnect()
    primary.disconnect()
    primary.disconnect()
    assert primary.fork(serve).is_dead, "nothing is forked while the cluster stops"
    for call in (worker.send, lambda body: worker.request(body, print)):
        try:
            call("x")
        except hybrid.NoSuchWorker as ex:
            say("refused:", ex)


assert primary.run() == 0, "nobody was forked"
primary = cluster.Primary()
primary.on("exit")(dead)
worker = primary.fork(lambda: None)
worker.disconnect()  # before it is online
sys.exit(primary.run())
