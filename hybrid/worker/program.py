"""A worker that runs a function of the script that forked it.

The function may serve HTTP, take messages, compute, or all of these; when it
returns, the worker exits: with the returned int, or 0. Everything else (link, messages,
HTTP, pool, drain) is what a worker of ``hybrid serve`` uses.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hybrid.worker.context import WorkerContext
from hybrid.worker.messages.membership import set_membership
from hybrid.worker.worker import Worker, run_worker


@dataclass(frozen=True, slots=True)
class Program:
    """A function with its arguments and environment, to run in a worker."""

    call: Callable[..., Any]  # plain or async
    args: tuple[Any, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # on top of the primary's

    def main(self, context: WorkerContext) -> int:
        """Run as this worker; return the exit code. Called in a new child process."""
        os.environ.update(self.env)
        return run_worker(context, self._run, is_function=True)

    async def _run(self, worker: Worker) -> int:
        set_membership(worker.mailbox)
        worker.watch_for_term()
        result = self.call(*self.args)
        if inspect.isawaitable(result):
            result = await result
        await worker.leading.step_down()
        # True is an int, but a function that returns it has not failed with exit code 1.
        return result if isinstance(result, int) and result is not True else 0
