"""What a client is told about a job without a result; the same under every framework."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from hybrid.core.departure import JobTimes
from hybrid.errors import (
    DeadlineTooShort,
    JobCancelled,
    JobError,
    JobOutOfMemory,
    JobTimeout,
    PoolClosed,
    QueueFull,
)
from hybrid.http.problem import PROBLEM_JSON, problem, usable_id

logger = logging.getLogger("hybrid.error")

_STATUS: dict[type[JobError], tuple[int, str]] = {
    DeadlineTooShort: (503, "Pool is full"),
    QueueFull: (503, "Pool is full"),
    PoolClosed: (503, "Worker is leaving"),
    JobTimeout: (504, "Job missed its deadline"),
    JobOutOfMemory: (507, "Job ran out of memory"),
    JobCancelled: (503, "Job was cancelled"),
}


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """The answer to a request whose job has no result."""

    status: int
    title: str
    detail: str
    retry_after: str | None  # seconds

    def headers(self) -> dict[str, str]:
        """Return Content-Type and, where trying again may help, Retry-After."""
        found = {"Content-Type": PROBLEM_JSON}
        if self.retry_after is not None:
            found["Retry-After"] = self.retry_after
        return found

    def body(self, request_id: str) -> bytes:
        """Return the problem document."""
        return problem(self.status, self.title, self.detail, request_id)


def answer_to(error: JobError, request_id: str) -> JobAnswer:
    """Return the answer, and log the error if it is the server's fault."""
    status, title = _STATUS.get(type(error), (500, "Job failed"))
    if status == 500:
        logger.error("request %s: %s", request_id, error)
    retry_after = None
    if isinstance(error, QueueFull):
        retry_after = str(max(1, math.ceil(error.retry_after)))
    elif isinstance(error, PoolClosed):
        retry_after = "1"
    return JobAnswer(status, title, str(error), retry_after)


def id_in(kept: MutableMapping[str, Any], key: str, sent: bytes | None) -> str:
    """Return the id of a request: from hybrid's server, from the client, or a new one.

    Args:
        kept: where hybrid's server has put it; under another server it is put there now, so that
            the log and the answer say the same.
        key: its key there.
        sent: what the client has sent as X-Request-ID.
    """
    if key not in kept:
        kept[key] = usable_id(sent) or uuid.uuid4().hex
    return str(kept[key])


def id_in_scope(scope: MutableMapping[str, Any]) -> str:
    """Return the id of an ASGI request."""
    state: dict[str, Any] = scope.setdefault("state", {})
    sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
    return id_in(state, "request_id", sent)


def id_in_environ(environ: MutableMapping[str, Any]) -> str:
    """Return the id of a WSGI request."""
    sent: str = environ.get("HTTP_X_REQUEST_ID", "")
    return id_in(environ, "hybrid.request_id", sent.encode("latin-1", "replace"))


def server_timing(times: Sequence[JobTimes], total_s: float) -> str:
    """Return the value of ``Server-Timing`` for a request that has run jobs, in milliseconds."""
    queue = sum(each.queue_s for each in times) * 1e3
    run = sum(each.run_s for each in times) * 1e3
    return f"queue;dur={queue:.3f}, run;dur={run:.3f}, total;dur={total_s * 1e3:.3f}"
