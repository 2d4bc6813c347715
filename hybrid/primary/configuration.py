"""The configuration in force: read again at a reload, returned to when that is aborted."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from hybrid.config import Config

logger = logging.getLogger("hybrid.error")


class Configuration:
    """What the workers of the wanted generation are forked with."""

    def __init__(self, first: Config, reread: Callable[[], Config]) -> None:
        """Start with `first`; `reread` raises ConfigError where what is written is unusable."""
        self.current = first
        self._confirmed = first  # every slot has been ready with it
        self._reread = reread

    def renew(self) -> Config:
        """Read it again; return what is in force from now on.

        Raises:
            ConfigError: it is invalid. Nothing has changed.
        """
        fresh = self._reread()
        self.current, refused = merge(self.current, fresh)
        if refused:
            logger.warning("a reload cannot change %s: restart for that", ", ".join(refused))
        return self.current

    def confirm(self) -> None:
        """Note that a whole generation is ready with it."""
        self._confirmed = self.current

    def revert(self) -> Config:
        """Return to the last confirmed one."""
        self.current = self._confirmed
        return self.current


def merge(running: Config, fresh: Config) -> tuple[Config, list[str]]:
    """Return `fresh` with the fixed parts of `running`, and the names of those that differ.

    Fixed are the listening sockets, the files of the control group, what was
    preloaded, and the number of permits: all of them live in the primary,
    which a reload does not replace.
    """
    merged = dataclasses.replace(
        fresh,
        scheduling=running.scheduling,
        bind=running.bind,
        control=running.control,
        app=dataclasses.replace(fresh.app, preload=running.app.preload),
        cpu=dataclasses.replace(fresh.cpu, limit=running.cpu.limit),
    )
    pairs = {
        "scheduling": (running.scheduling, fresh.scheduling),
        "bind": (running.bind, fresh.bind),
        "control": (running.control, fresh.control),
        "preload": (running.app.preload, fresh.app.preload),
        "cpu-limit": (running.cpu.limit, fresh.cpu.limit),
    }
    return merged, [name for name, (before, after) in pairs.items() if before != after]
