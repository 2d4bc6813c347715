from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.talking_worker import talk, when_ready

primary = cluster.Primary()


@primary.on("message")
def answer(worker, message):
    if message.body == "raise":
        raise ValueError("on purpose")
    message.reply({"of": worker.slot, "next": message.body + 1})


def begin(first):
    for body in (1, "raise", 2):
        first.send({"to": "primary", "request": body})
    first.send({"to": 9, "request": 1})


when_ready(primary, 1, begin)
primary.fork(talk)
sys.exit(primary.run())
