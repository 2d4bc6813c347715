"""An application whose workers talk to each other; served by the tests of messages and hooks."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import falcon.asgi

from hybrid import cluster
from hybrid.errors import HybridError

received: list[Any] = []
events: list[str] = []
_NOTES = os.environ.get("TALKING_NOTES", os.devnull)


def note(text: str) -> None:
    """Append a line to the file that the test reads."""
    with open(_NOTES, "a") as file:
        file.write(f"{cluster.slot()} {os.getpid()} {text}\n")


@cluster.on_message
async def take(message: cluster.Message) -> None:
    body = message.body
    do = body.get("do") if isinstance(body, dict) else None
    if do == "raise":
        raise ValueError("on purpose")
    if do == "echo":
        message.reply({"echo": body, "from": cluster.slot()})
    elif do == "big reply":
        message.reply("x" * 70_000)
    elif do == "late":
        await asyncio.sleep(0.2)
        message.reply("late")
    elif do != "silence":
        received.append({"body": body, "sender": message.sender})


@cluster.on_start
async def started() -> None:
    note("start")


@cluster.on_drain
def draining() -> None:
    note("drain")


@cluster.on_drained
async def drained() -> None:
    note("drained")


@cluster.on_drained(timeout=0.2)
async def slow() -> None:
    if os.environ.get("TALKING_SLOW"):
        await asyncio.sleep(60)


@cluster.on_drained
async def broken() -> None:
    if os.environ.get("TALKING_BROKEN"):
        raise ValueError("on purpose")


@cluster.on_exit
def leaving(reason: str) -> None:
    note(f"exit {reason}")


@cluster.on_leadership
async def leading(is_leader: bool) -> None:
    if not is_leader:
        await asyncio.sleep(0.2)  # who leaves waits for what ends its work as leader
    note("leads" if is_leader else "gives up")


@cluster.on_event
def hear(event: dict[str, Any]) -> None:
    events.append(event["kind"])


class Talk:
    """POST {"call": …, "to": …, "body": …}: what the call returned, or the name of its error."""

    async def on_post(self, req: Any, resp: Any) -> None:
        wish = json.loads(await req.stream.read())
        body = wish.get("body")
        if "size" in wish:
            body = "x" * (wish["size"] - 2)  # two quotes
        try:
            match wish["call"]:
                case "send":
                    answer: Any = None
                    for _ in range(wish.get("times", 1)):
                        answer = await cluster.send(wish["to"], body)
                case "broadcast":
                    answer = await cluster.broadcast(body)
                case _:
                    answer = await cluster.request(wish["to"], body, wish.get("timeout", 5.0))
            resp.media = {"ok": answer}
        except (HybridError, TypeError) as ex:
            resp.media = {"error": type(ex).__name__, "text": str(ex)}


class Received:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.media = {
            "received": received,
            "events": events,
            "is_leader": cluster.is_leader(),
            "slot": cluster.slot(),
        }


app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
app.add_route("/talk", Talk())
app.add_route("/received", Received())
