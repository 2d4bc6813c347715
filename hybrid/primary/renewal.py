"""Reading the configuration again, and making the primary follow it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hybrid.config import Config, LogConfig
from hybrid.core import events as e
from hybrid.core.hanging import HangWatch
from hybrid.core.restart import RestartPolicy
from hybrid.core.supervision import Supervisor
from hybrid.errors import ConfigError
from hybrid.primary.children import ProcessTable
from hybrid.primary.configuration import Configuration

logger = logging.getLogger("hybrid.error")


@dataclass(frozen=True, slots=True)
class Renewal:
    """Everything in the primary that follows the configuration."""

    configuration: Configuration
    supervisor: Supervisor
    processes: ProcessTable
    hangs: HangWatch
    facts: dict[str, object]
    set_logging: Callable[[LogConfig], None]
    feed: Callable[[e.Event], None]

    def reload(self) -> int:
        """Read the configuration again, begin to replace the workers; return the generation.

        Raises:
            ConfigError: the configuration is invalid; nothing has changed.
        """
        before = self.configuration.current.io_workers
        config = self.configuration.renew()
        self._adopt(config)
        self.feed(e.ReloadAsked())
        if config.io_workers != before:  # otherwise a number set by `hybrid scale` stays
            self.feed(e.ScaleAsked(to=config.io_workers))
        return self.supervisor.generations.latest

    def reload_or_say_why(self) -> None:
        """Reload because of a signal: an error can only be logged."""
        try:
            self.reload()
        except ConfigError as ex:
            logger.error("not reloaded, nothing has changed: %s", ex)

    def revert(self) -> None:
        """Return to the settings of the last generation that was ready."""
        self._adopt(self.configuration.revert())

    def _adopt(self, config: Config) -> None:
        restart = config.restart
        self.processes.adopt(config)
        self.facts.update(cpu_pool=config.cpu.slots, cpu_lane=config.cpu.lane)
        self.set_logging(config.log)
        self.hangs.timeout = restart.hang_timeout
        self.supervisor.adopt(
            grace=restart.graceful_timeout,
            policy=RestartPolicy(restart.intensity, restart.period),
            max_surge=restart.max_surge,
            boot_timeout=restart.boot_timeout,
        )
