"""Whom the pool tells what happens to its members. One line of log per event."""

from __future__ import annotations

import logging
from typing import Protocol

logger = logging.getLogger("hybrid.error")


class PoolObserver(Protocol):
    """Is told about events that an operator may want to know. Event-loop thread."""

    def happened(self, event: str, *, expected: bool = False, **facts: object) -> None:
        """Something happened; `event` is a fixed phrase, `facts` its numbers.

        `expected`: it belongs to an ordinary start, so only who debugs wants to read it.
        """

    def warned(self, text: str) -> None:
        """Something the application's author should change."""

    def wants_replacement(self, reason: str) -> bool:
        """This worker should be replaced, the new one ready first.

        Returns:
            Whether that is on its way; if not, ask again later.
        """


class LoggingObserver:
    """Writes everything to the log."""

    def happened(self, event: str, *, expected: bool = False, **facts: object) -> None:
        """Log one line, ``key=value``."""
        level = logging.DEBUG if expected else logging.INFO
        logger.log(
            level, "%s %s", event, " ".join(f"{key}={value}" for key, value in facts.items())
        )

    def warned(self, text: str) -> None:
        """Log the advice."""
        logger.warning("%s", text)

    def wants_replacement(self, reason: str) -> bool:
        """Log it; here is no primary that could replace the worker."""
        logger.warning("this worker should be replaced: %s", reason)
        return True
