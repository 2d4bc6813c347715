"""Why a request is not answered by the application: it is refused, or its client has left."""

from __future__ import annotations

from hybrid.errors import HybridError


class Refused(HybridError):
    """The client's request is malformed or over a limit; nothing after it is read.

    The message is for the client: it names the rule or the limit with its flag.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class ClientGone(HybridError, ConnectionError):
    """The application sent to a client that has left; ASGI wants an OSError."""
