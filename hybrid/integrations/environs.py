"""What WSGI frameworks share: the book of a request's job times."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from hybrid.core.departure import Departure, current_departure
from hybrid.integrations.middleware import timing_line


class TimedWsgi:
    """Wraps a WSGI application: its answers carry ``Server-Timing`` when it ran jobs."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Run the application."""
        began = perf_counter()
        departure = current_departure.get()
        token = None
        if departure is None:  # under another server, whose thread serves others after this one
            departure = Departure()
            token = current_departure.set(departure)

        def timed(status: str, headers: Any, exc_info: Any = None) -> Any:
            line = timing_line(departure, began)
            if line is not None:
                headers = [*headers, (line[0].decode(), line[1].decode())]
            return start_response(status, headers, exc_info)

        try:
            return self._app(environ, timed)
        finally:
            if token is not None:
                current_departure.reset(token)
