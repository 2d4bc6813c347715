"""The connection as an exchange sees it.

A connection makes exchanges, so an exchange cannot import the class of its
connection. Each method is described where it is written: in
`connection.connection` and `connection.flow`.
"""

from __future__ import annotations

from typing import Any, Protocol

from hybrid.http.access_log import LoggedExchange
from hybrid.http.answer.coalescing import HoldsAnswer
from hybrid.http.shared import Shared


class EndedExchange(LoggedExchange, Protocol):
    """An exchange as its connection sees it when the answer is complete."""

    began: float  # by `time.perf_counter`
    closes: bool  # the connection ends with this answer


class ClientConnection(HoldsAnswer, Protocol):
    """What an exchange asks of the connection that its request came on."""

    shared: Shared
    transport: Any
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str
    is_trusted: bool  # its peer may speak for others: X-Forwarded-*
    is_write_paused: bool
    unsent: int  # bytes in the write buffer when that was last measured
    deadline: float  # monotonic

    # ruff: noqa: D102
    def write_all(self, pieces: tuple[bytes, ...]) -> None: ...

    async def wait_writable(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def pace(self) -> None: ...

    def set_deadline(self, seconds: float) -> None: ...

    def may_stay_open(self) -> bool: ...

    def switch_to_frames(self) -> bytes: ...

    def exchange_ended(self, exchange: EndedExchange) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...
