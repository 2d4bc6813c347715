from __future__ import annotations

import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say
from tests.cluster.scripts.talking_worker import talk, when_ready

primary = cluster.Primary()


def then(name):
    return lambda reply, error: say(name, reply, type(error).__name__, error)


def begin(first, second):
    first.request({"reply": {"x": None}}, then("replied"))
    first.request({"big": 70_000}, then("big"))
    first.request({"fail": "no wish"}, then("failed"))
    first.request({"silence": 1}, then("silent"), timeout=0.2)
    first.request({"reply": 1}, lambda reply, error: 1 / 0)
    second.request({"die": 3}, then("dead"), timeout=30)
    try:
        first.request("x" * 70_000, then("never"))
    except hybrid.HybridError as ex:
        say("refused", ex)


when_ready(primary, 2, begin)
primary.fork(talk)
primary.fork(talk)
sys.exit(primary.run())
