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
from hybrid.errors import NotInCluster
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
        mailbox.server = _Serving(worker).serve
        worker.on_order = inbox.end
        set_membership(mailbox)
        worker.watch_for_term()
        result = self.call(*self.args)
        if inspect.isawaitable(result):
            result = await result
        await worker.leading.step_down()
        # True is an int, but a function that returns it has not failed with exit code 1.
        return result if isinstance(result, int) and result is not True else 0


class _Serving:
    """What `hybrid.cluster.serve` does in this worker, once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._has_begun = False

    async def serve(self, app: Any) -> None:
        context = self._worker.context
        if not context.accepting_fds():
            raise NotInCluster('nothing to serve on: Primary("127.0.0.1:8000") opens an address')
        if self._has_begun:
            raise NotInCluster("this worker has served already; a new one can be forked")
        self._has_begun = True
        if isinstance(app, str):
            code = await self._worker.serve(replace(context.config.app, target=app))
        else:
            code = await self._worker.serve(as_application(app))
        if code:
            sys.exit(code)  # it has told the primary why it cannot serve
