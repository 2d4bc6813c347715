"""The ASGI lifespan protocol: start-up and shutdown of the application.

Source: https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import MutableMapping
from enum import Enum
from typing import Any

from hybrid.errors import HybridError

logger = logging.getLogger("hybrid.error")


class LifespanFailed(HybridError):
    """The application refused to start; the message is its reason, with a traceback if any."""


class LifespanReply(Enum):
    """How the application replied to a question."""

    COMPLETE = "complete"
    FAILED = "failed"  # it sent so, or something that is not a reply
    RETURNED = "returned"  # it returned, or does not speak lifespan: nothing more will come
    RAISED = "raised"


class Lifespan:
    """Runs the application's lifespan in a task of its own, for the life of the worker.

    An application that raises before it has received anything does not speak
    lifespan; the specification has the server continue without.

    Rule: every question gets a reply: what the application sends, or the fact
          that it has ended. An exception that comes between two questions is
          logged.
    """

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self._app = app
        self._scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": state,
        }
        self._questions: asyncio.Queue[str] = asyncio.Queue()
        self._question = ""  # the latest
        self._reply: asyncio.Future[tuple[LifespanReply, str]] | None = None  # to the latest
        self._task: asyncio.Task[None] | None = None
        self._received = False  # the application has asked for a question
        self._has_failed = False  # its latest reply says so

    async def startup(self) -> None:
        """Start the application.

        Raises:
            LifespanFailed: it said so, or its start-up handler raised.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        reply, reason = await self._ask("lifespan.startup", None)
        if reply in (LifespanReply.FAILED, LifespanReply.RAISED):
            raise LifespanFailed(f"the application refused to start: {reason}")

    async def shutdown(self, patience: float) -> None:
        """Let the application clean up; its errors are logged, not raised.

        Args:
            patience: seconds it has; then it is cancelled.
        """
        task = self._task
        if task is None or task.done():
            return
        try:
            reply, reason = await self._ask("lifespan.shutdown", patience)
        except TimeoutError:
            logger.error("the application's shutdown took over %g s: cancelled", patience)
            task.cancel()
            await asyncio.sleep(0)  # the cancellation is delivered in the loop's next turn
            return
        if reply in (LifespanReply.FAILED, LifespanReply.RAISED):
            logger.error("the application's shutdown failed: %s", reason)

    async def _ask(self, question: str, patience: float | None) -> tuple[LifespanReply, str]:
        self._question = question
        self._reply = asyncio.get_running_loop().create_future()
        self._questions.put_nowait(question)
        return await asyncio.wait_for(self._reply, patience)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as ex:  # also a CancelledError that the application raised itself
            if self._received and not _is_cancelled_by_us(ex):
                self._take_reply(LifespanReply.RAISED, traceback.format_exc())
                return
        self._take_reply(LifespanReply.RETURNED, "")

    async def _receive(self) -> dict[str, Any]:
        self._received = True
        return {"type": await self._questions.get()}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        is_complete = message["type"] == f"{self._question}.complete"
        reply = LifespanReply.COMPLETE if is_complete else LifespanReply.FAILED
        self._take_reply(reply, message.get("message", ""))

    def _take_reply(self, reply: LifespanReply, reason: str) -> None:
        """Hand a reply to the question that waits for it; log an exception that has none."""
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((reply, reason))
            self._has_failed = reply is LifespanReply.FAILED
        elif reply is LifespanReply.RAISED and not self._has_failed:
            # Many applications send that they failed and raise then: that is one failure.
            logger.error("the application's lifespan raised: %s", reason)


def _is_cancelled_by_us(ex: BaseException) -> bool:
    """Return whether `ex` is the cancellation of the current task, not one made inside it."""
    task = asyncio.current_task()
    return isinstance(ex, asyncio.CancelledError) and task is not None and task.cancelling() > 0
