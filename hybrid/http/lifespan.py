"""The ASGI lifespan protocol: start-up and shutdown of the application.

Source: https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

from hybrid.errors import HybridError

logger = logging.getLogger("hybrid.error")


class LifespanFailed(HybridError):
    """The application refused to start; the message is its reason, with a traceback if any."""


class Lifespan:
    """Runs the application's lifespan in a task of its own, for the life of the worker.

    An application that raises before it has received anything does not speak
    lifespan; the specification has the server continue without.
    """

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self._app = app
        self._scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": state,
        }
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._received = False

    async def startup(self) -> None:
        """Start the application.

        Raises:
            LifespanFailed: it said so, or its start-up handler raised.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        answer = await self._ask("lifespan.startup")
        if answer is None:
            self._task = None
            return
        if answer["type"] != "lifespan.startup.complete":
            self._task = None
            raise LifespanFailed(f"the application refused to start: {answer.get('message', '')}")

    async def shutdown(self) -> None:
        """Let the application clean up; its errors are logged, not raised."""
        if self._task is None:
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            logger.error("the application's shutdown failed: %s", answer.get("message", ""))
        self._task = None

    async def _ask(self, kind: str) -> dict[str, Any] | None:
        self._inbox.put_nowait({"type": kind})
        return await self._answers.get() or None

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception:
            if self._received and self._scope["state"] is not None:
                text = traceback.format_exc()
                self._answers.put_nowait({"type": "lifespan.failed", "message": text})
                return
        self._answers.put_nowait({})  # falsy: no lifespan spoken, or no more

    async def _receive(self) -> dict[str, Any]:
        self._received = True
        return await self._inbox.get()

    async def _send(self, message: dict[str, Any]) -> None:
        self._answers.put_nowait(message)
