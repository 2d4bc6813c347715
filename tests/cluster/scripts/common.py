"""What the scripts share: whole lines to print, a small application, the story of a cluster."""

from __future__ import annotations

import os

from hybrid import cluster


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # whole lines, from any process


def hello(request):
    return f"Hello from worker {os.getpid()}"


async def serve():
    await cluster.serve_function(hello)


def tell(primary):
    """Print every event; return `primary`, which forks nothing again."""
    for name in ("fork", "online", "ready", "drain"):
        primary.on(name)(lambda worker, name=name: say(name, worker.id, worker.slot))
    primary.on("listening")(lambda worker, address: say("listening", worker.id, address))
    primary.on("exit")(_tell_exit)
    return primary


def _tell_exit(worker, code, signal):
    how = code, signal and signal.name, worker.reason, worker.exited_after_disconnect
    say("exit", worker.id, *how, worker.is_dead, worker.is_connected)
