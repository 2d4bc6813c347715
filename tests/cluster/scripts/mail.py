from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import say
from tests.cluster.scripts.talking_worker import talk, when_ready

primary = cluster.Primary()


def begin(first, second, third):
    first.send({"n": 1})
    say("reached", primary.broadcast("to all"))
    second.send({"to": "primary", "send": ["job", "done"]})
    second.send({"to": 3, "send": "over"})
    third.send({"all": "others"})


when_ready(primary, 3, begin)
primary.on("message")(lambda worker, message: say("primary got", message.body, "of", worker.slot))
for _ in range(3):
    primary.fork(talk)
sys.exit(primary.run())
