"""The cluster, for an application: messages, leadership, hooks; and `Primary` for scripts.

    import hybrid.cluster as cluster

    @cluster.on_message
    async def count(message):
        message.reply({"visits": visits})

    answer = await cluster.request(2, {"want": "visits"}, timeout=1.0)

A script that is its own primary forks functions (`Primary`); they serve HTTP
(`serve`, `serve_function`), take messages (`messages`, or the same handlers), or both.

Messages are JSON of at most 64 KiB and go through the primary: worker to
primary and back costs two hops, worker to worker four. Nothing of the
application runs in the primary of ``hybrid serve``. Everything here belongs to
the event loop's thread of a worker; a job has no access to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hybrid.core.messages.mail import ALL, LEADER, PRIMARY
from hybrid.system.process.cpu_budget import cpu_budget
from hybrid.worker.hooks import Decorator, Moment
from hybrid.worker.messages.membership import To, membership

if TYPE_CHECKING:
    from hybrid.primary.script.forked_worker import ForkedWorker as ForkedWorker
    from hybrid.primary.script.script_primary import Primary as Primary
    from hybrid.worker.function import FunctionRequest as FunctionRequest
    from hybrid.worker.messages.mailbox import Message as Message

on_message = Decorator(Moment.MESSAGE)  # handler(message); see Message
on_start = Decorator(Moment.START)  # hook(); raising keeps the worker from becoming ready
on_drain = Decorator(Moment.DRAIN)  # hook()
on_drained = Decorator(Moment.DRAINED)  # hook()
on_exit = Decorator(Moment.EXIT)  # hook(reason), such as "reload", "scale", "stop"
on_leadership = Decorator(Moment.LEADERSHIP)  # hook(is_leader)
on_event = Decorator(Moment.EVENT)  # hook(event) in the leader; a dict as `hybrid events` prints

_LAZY = {
    "ForkedWorker": "hybrid.primary.script.forked_worker",
    "Primary": "hybrid.primary.script.script_primary",
    "FunctionRequest": "hybrid.worker.function",
    "Message": "hybrid.worker.messages.mailbox",
}

__all__ = [
    "ALL",
    "LEADER",
    "PRIMARY",
    "ForkedWorker",
    "FunctionRequest",
    "Message",
    "Primary",
    "broadcast",
    "cpu_budget",
    "is_leader",
    "messages",
    "on_drain",
    "on_drained",
    "on_event",
    "on_exit",
    "on_leadership",
    "on_message",
    "on_start",
    "ping",
    "request",
    "send",
    "serve",
    "serve_function",
    "slot",
]


async def send(to: To, body: Any) -> None:
    """Send a message to a slot, to "leader" or to "primary".

    Returns when the primary has sent it on. In the primary of ``hybrid
    serve`` a message becomes an event that ``hybrid events`` shows.

    Raises:
        FrameTooLarge: over 64 KiB of JSON.
        MailboxFull: the receiver is not reading and its outbox is full; nothing was sent.
        NoSuchWorker: that slot has no ready worker.
        NotInCluster: this process is not a worker.
    """
    await membership().send(to, body)


async def broadcast(body: Any) -> list[int]:
    """Send a message to every other ready worker; return the slots it is on its way to.

    Raises:
        FrameTooLarge: over 64 KiB of JSON.
        MailboxFull: some read too slowly: its `slots` did not get the message, all others did.
    """
    return await membership().broadcast(body)


async def request(to: To, body: Any, timeout: float = 5.0) -> Any:
    """Send a message and return what its handler replies.

    Raises:
        NoReply: none within `timeout` seconds; the message may have arrived.
        RequestFailed: the handler raised, or there is no handler.
        FrameTooLarge, MailboxFull, NoSuchWorker, NotInCluster: as for `send`.
    """
    return await membership().request(to, body, timeout)


async def ping(to: To, timeout: float = 5.0) -> float:
    """Return the seconds that a message takes to a process and back; no handler is called."""
    return await membership().ping(to, timeout)


async def serve(app: Any) -> None:
    """Serve HTTP on the primary's addresses until the order to leave, and through the drain.

    In a function that `Primary.fork` was given. Hooks run as in ``hybrid serve``.

    Args:
        app: an ASGI or WSGI application, or its ``module:attribute``.

    Raises:
        NotInCluster: this process is not a script's worker, has served already, or its
            primary has no address.
        SystemExit: it cannot start, and the primary knows why. 4: it cannot be imported.
        TypeError: it is not an application.
    """
    await membership().serve(app)


async def serve_function(function: Callable[[FunctionRequest], Any]) -> None:
    """Serve HTTP like `serve`: every request is answered with the result of a function.

    Args:
        function: takes a `FunctionRequest`, plain or async, and returns str, bytes or
            JSON values. A plain function blocks its worker's event loop while it runs.

    Raises:
        NotInCluster: as for `serve`.
        TypeError: it cannot be called with one argument.
    """
    from hybrid.worker.function import FunctionApplication

    await membership().serve(FunctionApplication(function))


def messages() -> AsyncIterator[Message]:
    """Return the messages that have no `on_message` handler, one by one.

    In a function that `Primary.fork` was given. Ends with the order to leave,
    after the messages that came before it: the one at hand is finished.
    """
    return membership().messages()


def is_leader() -> bool:
    """Return whether this worker is the leader (at most one is); True without a cluster."""
    return membership().is_leader


def slot() -> int:
    """Return this worker's slot number; 0 without a cluster."""
    return membership().slot


def __getattr__(name: str) -> Any:
    """Import the module of a public name on first use (PEP 562)."""
    try:
        module = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module 'hybrid.cluster' has no attribute {name!r}") from None
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value
