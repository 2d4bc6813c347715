from __future__ import annotations

import asyncio
import os
import signal
import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say

got = []
primary = cluster.Primary()
primary.on("message")(lambda worker, message: got.append(message.body))
primary.on("exit")(lambda worker, code, signal: say("got", len(got)))


async def work():
    os.kill(os.getppid(), signal.SIGSTOP)
    sends = [asyncio.ensure_future(cluster.send("primary", "x" * 60_000)) for _ in range(100)]
    await asyncio.sleep(0.1)
    os.kill(os.getppid(), signal.SIGCONT)
    results = await asyncio.gather(*sends, return_exceptions=True)
    full = [r for r in results if isinstance(r, hybrid.MailboxFull)]
    say("sent", results.count(None), "refused", len(full), "of", len(results))


primary.fork(work)
sys.exit(primary.run())
