from __future__ import annotations

import asyncio
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say, tell


async def slow(request):
    say("begun")
    await asyncio.sleep(1.0)
    return "done"


primary = tell(cluster.Primary("127.0.0.1:0"))


@primary.on("ready")
def ready(worker):
    say("url", primary.address)


@primary.on("message")
def obey(worker, message):
    for each in (worker, worker):  # twice is once
        each.kill() if message.body == "kill me" else each.disconnect()


async def work(wish):
    async def wish_soon():
        await asyncio.sleep(0.3)
        await cluster.send("primary", wish)

    async def slow_then_wish(request):
        task = asyncio.ensure_future(wish_soon())
        answer = await slow(request)
        await task  # it has ended long before
        return answer

    await cluster.serve_function(slow_then_wish)


primary.on("exit")(lambda worker, *how: worker.id == 1 and primary.fork(work, "kill me"))
primary.fork(work, "disconnect me")
sys.exit(primary.run())
