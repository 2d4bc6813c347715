"""What a script's primary opens before it forks: sockets, scoreboard, permits."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hybrid.config import AppConfig, Config, LogConfig
from hybrid.core.scheduling import Policy
from hybrid.errors import ConfigError
from hybrid.http.tls import server_context
from hybrid.primary.facts import cluster_facts
from hybrid.primary.listening import Listening
from hybrid.primary.preload import preload
from hybrid.system.cpu_budget import cpu_budget
from hybrid.system.listeners import close_all, open_listeners
from hybrid.system.permits import PermitTable
from hybrid.system.scoreboard import Scoreboard

ROWS = 256  # of the scoreboard: most workers of a script at once; 2 kB each, touched on use


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that is there before the first fork of a script's cluster."""

    listening: Listening
    scoreboard: Scoreboard
    permits: PermitTable | None
    facts: dict[str, object]
    address: str


def script_config(config: Config | None, bind: str | Sequence[str]) -> Config:
    """Return the configuration of a script that names its addresses."""
    addresses = (bind,) if isinstance(bind, str) else tuple(bind)
    if config is None:
        folder = Path(sys.path[0] or ".") if sys.path else Path()
        config = Config(app=AppConfig(app_dir=folder), log=LogConfig(access=False))
    if config.scheduling == "reuseport":
        raise ConfigError("reuseport needs a fixed number of workers: hybrid serve")
    return replace(config, bind=replace(config.bind, addresses=addresses))


def open_cluster(config: Config) -> Opened:
    """Bind, preload, allocate.

    Raises:
        ConfigError: an address cannot be bound, the certificate not read, or a
            module not preloaded.
    """
    began = time.monotonic()
    listeners = open_listeners(config.bind)
    try:
        if config.bind.certfile is not None:
            server_context(config.bind.certfile, config.bind.keyfile)  # or say at once why not
        preload(config.app.preload)
        scoreboard = Scoreboard(ROWS)
        limit = config.cpu.limit
        facts = cluster_facts(config, listeners, cpu_budget(), began)
        return Opened(
            Listening(listeners, Policy(config.scheduling), 1, config.bind.backlog),
            scoreboard,
            PermitTable(limit, len(scoreboard)) if limit is not None else None,
            facts,
            str(facts["address"]),
        )
    except BaseException:
        close_all(listeners)
        raise
