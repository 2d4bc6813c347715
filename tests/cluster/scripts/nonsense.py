from __future__ import annotations

import sys

from hybrid import cluster
from hybrid.core.messages import link_messages as m
from hybrid.core.workers.lifecycle import Leaving
from hybrid.worker.messages.membership import membership
from tests.cluster.scripts.common import say, serve

primary = cluster.Primary("127.0.0.1:0")


async def nonsense():
    link = membership()._link
    for kind in ("send", "request", "reply", "failure", "ping", "nonsense"):
        for to in (1, 99, -1, "", "primary", "all", "leader", "nobody"):
            for origin in (0, 1, 99):
                link.send(m.Mail(kind, 77, to, None, 5, origin))
    for message in (
        m.QueueEmptied(),
        m.LeadGivenUp(),
        m.LeftDistribution(),
        m.Ready(False),
        m.Ready(False),
        m.Online(),
        m.Leave(Leaving.RECYCLE),
        m.Leave(Leaving.RECYCLE),
    ):
        link.send(message)
    await cluster.send("primary", "done")


primary.on("message")(lambda worker, message: message.body and say(message.body))
primary.on("listening")(lambda worker, address: (say(address), primary.fork(nonsense)))
primary.fork(serve)
sys.exit(primary.run())
