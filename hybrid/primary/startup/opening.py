"""What a primary opens before it forks: sockets, preloaded modules, scoreboard, permits."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hybrid import __version__
from hybrid.config import AppConfig, Config, LogConfig
from hybrid.core.connections.handoff_queue import Policy
from hybrid.errors import ConfigError
from hybrid.http.tls import server_context
from hybrid.primary.connections.listening import Listening
from hybrid.primary.startup.preload import preload
from hybrid.shared_state.address import hide_password
from hybrid.system.memory.permits import PermitTable
from hybrid.system.process.cpu_budget import cpu_budget
from hybrid.system.process.descriptors import descriptor_limit, raise_descriptor_limit
from hybrid.system.process.streams import open_standard_streams
from hybrid.system.scoreboard.scoreboard import Scoreboard
from hybrid.system.sockets.listeners import Listener, close_all, open_listeners

logger = logging.getLogger("hybrid.error")

SCRIPT_ROWS = 256  # most workers of a script at once; 2 kB each, allocated on use


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that exists before the first fork; children inherit it."""

    listening: Listening
    scoreboard: Scoreboard
    permits: PermitTable | None
    facts: dict[str, object]  # of the cluster; any worker may show them
    soft_limit: int  # of descriptors, before it was raised; pool processes run with it

    @property
    def worker_fds(self) -> int:
        """How many descriptors a worker inherits, at most."""
        permits = self.permits.fds if self.permits is not None else []
        return len(self.listening.all()) + len(permits)

    @property
    def address(self) -> str:
        """The URL to paste; several are separated by commas."""
        return str(self.facts["address"])


def most_workers(config: Config) -> int:
    """Return how many workers `hybrid serve` can be scaled to."""
    return max(16, 2 * config.io_workers)


def serving_rows(config: Config) -> int:
    """Return the rows of its scoreboard: in a reload every worker has a replacement."""
    return 2 * most_workers(config)


def script_config(config: Config | None, bind: str | Sequence[str]) -> Config:
    """Return the configuration of a script that names its addresses."""
    addresses = (bind,) if isinstance(bind, str) else tuple(bind)
    if config is None:
        folder = Path(sys.path[0] or ".") if sys.path else Path()
        config = Config(app=AppConfig(app_dir=folder), log=LogConfig(access=False))
    if config.scheduling == "reuseport":
        raise ConfigError("reuseport needs a fixed number of workers: hybrid serve")
    return replace(config, bind=replace(config.bind, addresses=addresses))


def open_cluster(config: Config, rows: int, began: float | None = None) -> Opened:
    """Bind, preload, allocate.

    Args:
        config: the configuration in force.
        rows: of the scoreboard; no more workers can live at once.
        began: monotonic s of the start, if that was before this call.

    Raises:
        ConfigError: an address cannot be bound, the certificate not read, or a
            module not preloaded.
    """
    began = time.monotonic() if began is None else began
    policy = Policy(config.scheduling)
    open_standard_streams()
    soft_limit = raise_descriptor_limit()
    logger.debug("descriptors: limited to %d, before to %d", descriptor_limit(), soft_limit)
    listeners = open_listeners(config.bind, reuseport=policy is Policy.REUSEPORT)
    try:
        if config.bind.certfile is not None:
            server_context(config.bind.certfile, config.bind.keyfile)  # to fail here
        preload(config.app.preload)
        limit = config.cpu.limit
        return Opened(
            Listening(listeners, policy, config.io_workers),
            Scoreboard(rows),
            PermitTable(limit, rows) if limit is not None else None,
            _facts(config, listeners, began),
            soft_limit,
        )
    except BaseException:
        close_all(listeners)
        raise


def _facts(config: Config, listeners: Sequence[Listener], began: float) -> dict[str, object]:
    """Return what is fixed at the start of a cluster."""
    address = ", ".join(listener.address for listener in listeners)
    if config.bind.certfile is not None:
        address = address.replace("http://", "https://")
    return {
        "address": address,
        "pid": os.getpid(),
        "version": __version__,
        "started_at": began,
        "io_workers": config.io_workers,
        "cpu_pool": config.cpu.slots,
        "cpu_lane": config.cpu.lane,
        "cpu_limit": config.cpu.limit,
        "cpu_budget": cpu_budget(),
        "scheduling": config.scheduling,
        "state": hide_password(config.state.url),
    }
