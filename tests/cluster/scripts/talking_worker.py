"""A worker that answers, and passes on what it is told to."""

from __future__ import annotations

import sys

import hybrid
from hybrid import cluster
from tests.cluster.scripts.common import say


async def talk():
    async for message in cluster.messages():
        try:
            await obey(message)
        except hybrid.HybridError as ex:
            say(type(ex).__name__, "-", ex)


async def obey(message):
    match message.body:
        case {"reply": body}:
            message.reply(body)
        case {"big": size}:
            message.reply("x" * size)
        case {"fail": text}:
            message.fail(text)
        case {"silence": _}:
            pass
        case {"die": code}:
            sys.exit(code)
        case {"to": to, "send": body}:
            await cluster.send(to, body)
        case {"to": to, "request": body}:
            say("reply", await cluster.request(to, body, timeout=2.0))
        case {"all": body}:
            say("reached", await cluster.broadcast(body))
        case body:
            say("slot", cluster.slot(), "got", body, "from", message.sender)


def when_ready(primary, count, call):
    """Call with `count` workers, in the order of their slots, when so many are ready."""
    ready = []

    @primary.on("ready")
    def one_more(worker):
        ready.append(worker)
        if len(ready) == count:
            call(*sorted(ready, key=lambda worker: worker.slot))
