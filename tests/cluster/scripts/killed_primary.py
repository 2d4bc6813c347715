from __future__ import annotations

from hybrid import cluster
from tests.cluster.scripts.common import say, serve


def spin():
    say("spins")
    while True:
        pass


primary = cluster.Primary("127.0.0.1:0")
primary.fork(spin)
primary.fork(serve)
primary.on("listening")(lambda *args: say("listening"))
primary.run()
