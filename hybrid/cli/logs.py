"""Where lines go: errors and lifecycle to stderr, access to stdout."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import IO

import orjson

from hybrid.config import LogConfig


class SafeHandler(logging.StreamHandler[IO[str]]):
    """Writes one line at a time; a terminal or pipe that is gone ends no process."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        """Drop the line: EIO and EPIPE mean that its reader has gone."""


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 INFO [pid] message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line (a traceback makes it several)."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{stamp}.{record.msecs:03.0f} {record.levelname} [{os.getpid()}]"
        text = f"{head} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with ``ts`` in Unix seconds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = {
            "ts": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": os.getpid(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields).decode()


def configure_logging(settings: LogConfig) -> None:
    """Set up ``hybrid.error``; the access log is the protocol's own, buffered one."""
    handler = SafeHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    logger = logging.getLogger("hybrid")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(settings.level.upper())
