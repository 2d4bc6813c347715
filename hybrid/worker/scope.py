"""What every request carries from the protocol to the jobs it submits, and back."""

from __future__ import annotations

from typing import Any

from hybrid.pool.client import current_departure
from hybrid.pool.submit import job_times


class RequestScope:
    """ASGI wrapper: the request's departure and job times become context variables.

    The application runs in the same context, so ``hybrid.submit`` finds both
    without being told; the access log finds the times in the scope.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        """Return the application's coroutine; it is awaited by the task that calls this."""
        extensions = scope.get("extensions")
        if extensions is not None and scope["type"] != "lifespan":
            current_departure.set(extensions.get("hybrid.departure"))
            job_times.set(extensions.setdefault("hybrid.times", []))
        return self._app(scope, receive, send)
