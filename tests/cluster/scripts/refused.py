from __future__ import annotations

import asyncio
import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import hello, say, serve

primary = cluster.Primary()


def attempt(what):
    try:
        what()
    except Exception as ex:
        say(type(ex).__name__, "-", ex)


async def inside_a_loop():
    attempt(lambda: primary.fork(serve))


asyncio.run(inside_a_loop())
attempt(lambda: primary.on("disconect"))


async def inside_a_worker():
    attempt(lambda: primary.fork(serve))
    try:
        await cluster.serve_function(hello)
    except hybrid.NotInCluster as ex:
        say("worker -", ex)


primary.fork(inside_a_worker)
sys.exit(primary.run())
