"""The ASGI lifespan protocol: start-up and shutdown of the application.

Source: https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import MutableMapping
from typing import Any

from hybrid.errors import HybridError

logger = logging.getLogger("hybrid.error")


class LifespanFailed(HybridError):
    """The application refused to start; the message is its reason, with a traceback if any."""


_ENDED = "lifespan.ended"  # the application returned, or speaks no lifespan
_RAISED = "lifespan.raised"


class Lifespan:
    """Runs the application's lifespan in a task of its own, for the life of the worker.

    An application that raises before it has received anything does not speak
    lifespan; the specification has the server continue without.

    Rule: every question gets an answer: what the application sends, or the news
          that it will send no more. What comes when nothing was asked is logged.
    """

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self._app = app
        self._scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": state,
        }
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answer: asyncio.Future[MutableMapping[str, Any]] | None = None  # to the question
        self._task: asyncio.Task[None] | None = None
        self._received = False
        self._has_failed = False  # its latest answer says so

    async def startup(self) -> None:
        """Start the application.

        Raises:
            LifespanFailed: it said so, or its start-up handler raised.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        answer = await self._ask("lifespan.startup", None)
        if answer["type"] not in ("lifespan.startup.complete", _ENDED):
            raise LifespanFailed(f"the application refused to start: {answer.get('message', '')}")

    async def shutdown(self, patience: float) -> None:
        """Let the application clean up; its errors are logged, not raised.

        Args:
            patience: seconds it has; then it is cancelled.
        """
        task = self._task
        if task is None or task.done():
            return
        try:
            answer = await self._ask("lifespan.shutdown", patience)
        except TimeoutError:
            logger.error("the application's shutdown took over %g s: cancelled", patience)
            task.cancel()
            await asyncio.sleep(0)  # it hears of it
            return
        if answer["type"] not in ("lifespan.shutdown.complete", _ENDED):
            logger.error("the application's shutdown failed: %s", answer.get("message", ""))

    async def _ask(self, kind: str, patience: float | None) -> MutableMapping[str, Any]:
        self._answer = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait({"type": kind})
        return await asyncio.wait_for(self._answer, patience)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as ex:  # a CancelledError of its own, too: nothing else would tell
            assert self._task is not None
            is_ours = isinstance(ex, asyncio.CancelledError) and self._task.cancelling()
            if self._received and not is_ours:
                self._hear({"type": _RAISED, "message": traceback.format_exc()})
                return
        self._hear({"type": _ENDED})

    async def _receive(self) -> dict[str, Any]:
        self._received = True
        return await self._inbox.get()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self._hear(message)

    def _hear(self, message: MutableMapping[str, Any]) -> None:
        """Take an answer, or what comes unasked."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)
            self._has_failed = message["type"].endswith(".failed")
        elif message["type"] == _RAISED and not self._has_failed:  # many say so, then raise
            logger.error("the application's lifespan raised: %s", message["message"])
