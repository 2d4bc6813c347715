"""What a client is told when shared state is away, or when it asks too often."""

from __future__ import annotations

import math
from typing import Any

import falcon

from hybrid.api.problems import write_problem
from hybrid.errors import RateLimited, SessionConflict, StateUnavailable


async def handle_state_unavailable(
    req: falcon.Request,
    resp: falcon.Response | None,
    ex: StateUnavailable,
    params: dict[str, Any],
    **_: Any,
) -> None:
    """Answer 503; which store it is and why is for the log, and not for clients.

    Raises:
        falcon.HTTPError: of a WebSocket, for Falcon to close it with the status' code.
    """
    _tell(req, resp, 503, "Shared state is not available", "try again later", ex.retry_after)


async def handle_rate_limited(
    req: falcon.Request,
    resp: falcon.Response | None,
    ex: RateLimited,
    params: dict[str, Any],
    **_: Any,
) -> None:
    """Answer 429.

    Raises:
        falcon.HTTPError: of a WebSocket, for Falcon to close it with the status' code.
    """
    _tell(req, resp, 429, "Too many requests", str(ex), ex.retry_after)


async def handle_session_conflict(
    req: falcon.Request,
    resp: falcon.Response | None,
    ex: SessionConflict,
    params: dict[str, Any],
    **_: Any,
) -> None:
    """Answer 409.

    Raises:
        falcon.HTTPError: of a WebSocket, for Falcon to close it with the status' code.
    """
    _tell(req, resp, 409, "The session was changed meanwhile", str(ex), 1.0)


def _tell(
    req: falcon.Request,
    resp: falcon.Response | None,
    status: int,
    title: str,
    detail: str,
    retry_after: float,
) -> None:
    if resp is None:
        raise falcon.HTTPError(status, title=title)
    resp.set_header("Retry-After", str(max(1, math.ceil(retry_after))))
    write_problem(req, resp, status, title, detail)
