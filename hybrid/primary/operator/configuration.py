"""The configuration in force: read again at a reload, restored when the reload is aborted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hybrid.config import Config, LogConfig, settings, value_at, with_values
from hybrid.core.workers import events as e
from hybrid.core.workers.hang_watch import HangWatch
from hybrid.core.workers.restart import RestartPolicy
from hybrid.core.workers.supervision import Supervisor
from hybrid.errors import ConfigError
from hybrid.primary.workers.process_table import ProcessTable
from hybrid.shared_state.address import hide_password

logger = logging.getLogger("hybrid.error")


class Configuration:
    """The configuration that new workers are forked with."""

    def __init__(self, first: Config, reread: Callable[[], Config]) -> None:
        """Start with `first`; `reread` raises ConfigError if the new configuration is invalid."""
        self.current = first
        self._confirmed = first  # every slot has been ready with this one
        self._reread = reread

    def renew(self) -> Config:
        """Read the configuration again; return the one in force from now on.

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

    Fixed are the settings of what a reload does not replace, because it is the
    primary's: listening sockets, control socket, watcher, preloaded modules, permits.
    """
    kept = {place: value_at(running, place) for place, about in settings().items() if about.fixed}
    refused = [place for place, value in kept.items() if value_at(fresh, place) != value]
    return with_values(fresh, kept), [settings()[place].name for place in refused]


# -- Reading the configuration again, and applying it in the primary ------------


@dataclass(frozen=True, slots=True)
class SettingsReload:
    """Applies a configuration to every part of the primary that depends on it."""

    configuration: Configuration
    supervisor: Supervisor
    processes: ProcessTable
    hangs: HangWatch
    facts: dict[str, object]
    set_logging: Callable[[LogConfig], None]
    handle: Callable[[e.Event], None]  # passes an event to the supervisor

    def reload(self) -> int:
        """Read the configuration again, begin to replace the workers; return the generation.

        Raises:
            ConfigError: the configuration is invalid; nothing has changed.
        """
        before = self.configuration.current.io_workers
        config = self.configuration.renew()
        self._apply(config)
        self.handle(e.ReloadAsked())
        if config.io_workers != before:  # otherwise a number set by `hybrid scale` stays
            self.handle(e.ScaleAsked(to=config.io_workers))
        return self.supervisor.generations.latest

    def reload_or_log(self) -> None:
        """Reload; log an error, because a signal has no answer."""
        try:
            self.reload()
        except ConfigError as ex:
            logger.error("not reloaded, nothing has changed: %s", ex)

    def revert(self) -> None:
        """Return to the settings of the last generation that was ready."""
        self._apply(self.configuration.revert())

    def _apply(self, config: Config) -> None:
        restart = config.restart
        self.processes.use_settings(config)
        state = hide_password(config.state.url)
        self.facts.update(cpu_pool=config.cpu.slots, cpu_lane=config.cpu.lane, state=state)
        self.set_logging(config.log)
        self.hangs.timeout = restart.hang_timeout
        self.supervisor.use_settings(
            grace=restart.graceful_timeout,
            policy=RestartPolicy(restart.intensity, restart.period),
            max_surge=restart.max_surge,
            boot_timeout=restart.boot_timeout,
        )
