from __future__ import annotations

import asyncio
import sys

from hybrid import cluster
from hybrid.worker.messages.membership import membership
from tests.cluster.scripts.common import say, serve

GARBAGE = {
    "bytes": lambda link: link.sock.send(b"\x00\x00\x00\x03abc"),
    "a length": lambda link: link.sock.send(b"\x00\xff\xff\xff"),
    "an unknown type": lambda link: link.send(b'{"type":"boom"}'),
    "an unknown reason to leave": lambda link: link.send(b'{"type":"leave","leaving":"boredom"}'),
    "an order": lambda link: link.send(b'{"type":"lead","leads":true}'),
    "an unhashable number": lambda link: link.send(
        b'{"type":"mail","kind":"reply","number":[],"to":"","body":0,"origin":{}}'
    ),
}

primary = cluster.Primary("127.0.0.1:0")


async def garble():
    link = membership()._link._channel
    GARBAGE[sys.argv[1]](link)
    await asyncio.sleep(60)


primary.on("exit")(lambda worker, code, signal: say("exit", worker.slot, signal.name))
primary.on("listening")(lambda worker, address: (say(address), primary.fork(garble)))
primary.fork(serve)
sys.exit(primary.run())
