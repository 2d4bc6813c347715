"""A worker whose life is a function of the script that forked it.

The function may serve HTTP, take messages, compute, or all of it; when it
returns, the worker exits: with its int, or 0. Everything else (link, messages,
HTTP, pool, drain) is what a worker of ``hybrid serve`` uses.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hybrid.api.function import as_application
from hybrid.cluster.membership import set_membership
from hybrid.core import messages as m
from hybrid.worker.context import WorkerContext
from hybrid.worker.inbox import Inbox
from hybrid.worker.mailbox import Message
from hybrid.worker.main import Worker, live


@dataclass(frozen=True, slots=True)
class Program:
    """What a script wants a worker to be."""

    call: Callable[..., Any]  # plain or async
    args: tuple[Any, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # on top of the primary's

    def main(self, context: WorkerContext) -> int:
        """Live as this worker; return the exit code. Called in a fresh child process."""
        os.environ.update(self.env)
        return live(context, self._live)

    async def _live(self, worker: Worker) -> int:
        mailbox = worker.mailbox
        inbox: Inbox[Message] = Inbox(lambda: worker.link.send(m.Ready(listening=False)))
        mailbox.inbox = inbox
        mailbox.server = lambda app: _serve(worker, app)
        worker.on_order = inbox.end
        set_membership(mailbox)
        worker.watch_for_term()
        result = self.call(*self.args)
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, int) else 0


async def _serve(worker: Worker, app: Any) -> None:
    if isinstance(app, str):
        code = await worker.serve(replace(worker.context.config.app, target=app))
    else:
        code = await worker.serve(as_application(app))
    if code:
        sys.exit(code)  # it has told the primary why it cannot serve
