from __future__ import annotations

import os
import signal
import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say

PACKET = "x" * 60_000
primary = cluster.Primary()


async def work():
    got = 0
    async for message in cluster.messages():
        if message.body != PACKET:
            message.reply(got)
        got += 1


@primary.on("ready")
def flood(worker):
    if worker.slot == 2:
        return
    os.kill(worker.pid, signal.SIGSTOP)
    sent = 0
    try:
        while True:
            worker.send(PACKET)
            sent += 1
    except hybrid.MailboxFull as ex:
        say("full", ex.slots, sent)
    try:
        primary.broadcast("both")
    except hybrid.MailboxFull as ex:
        say("not to", ex.slots)
    os.kill(worker.pid, signal.SIGCONT)
    flood.sent, flood.worker = sent, worker
    primary.workers[2].request("how many", soon)


def soon(reply, error):
    say("other goes on", reply)
    try:
        flood.worker.request("how many", count, timeout=20)
    except hybrid.MailboxFull:
        primary.workers[2].request("how many", soon)  # later


def count(reply, error):
    say("complete", reply == flood.sent, error)
    primary.disconnect()


primary.fork(work)
primary.fork(work)
sys.exit(primary.run())
