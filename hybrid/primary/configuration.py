"""The configuration in force; an aborted reload returns to the one before."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hybrid.config import Config, settings, value_at, with_values

logger = logging.getLogger("hybrid.error")


class Configuration:
    """What the workers of the wanted generation are forked with."""

    def __init__(self, first: Config, reread: Callable[[], Config]) -> None:
        """Start with `first`; `reread` raises ConfigError if the new configuration is invalid."""
        self.current = first
        self._confirmed = first  # every slot has been ready with this one
        self._reread = reread

    def renew(self) -> Config:
        """Read the configuration again; return what is in force from now on.

        Raises:
            ConfigError: it is invalid. Nothing has changed.
        """
        fresh = self._reread()
        self.current, refused = merge(self.current, fresh)
        if refused:
            logger.warning(
                "a reload cannot change %s; restart the server to apply it", ", ".join(refused)
            )
        return self.current

    def confirm(self) -> None:
        """Note that a whole generation is ready with the current configuration."""
        self._confirmed = self.current

    def revert(self) -> Config:
        """Return to the last confirmed configuration."""
        self.current = self._confirmed
        return self.current


def merge(running: Config, fresh: Config) -> tuple[Config, list[str]]:
    """Return `fresh` with the fixed settings of `running`, and the names of those that differ.

    Fixed is what lives in the primary, which a reload does not replace: the
    listening sockets, the control socket, the watcher, what was preloaded, and
    the number of permits.
    """
    kept = {place: value_at(running, place) for place, about in settings().items() if about.fixed}
    refused = [place for place, value in kept.items() if value_at(fresh, place) != value]
    return with_values(fresh, kept), [settings()[place].name for place in refused]
