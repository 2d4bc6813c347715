"""How many connections a worker's descriptors are enough for.

At its limit a worker accepts nothing, gets no pool process and opens no file.
So connections stop before that: they are what there is most of, and what waits
best, in the backlog.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from hybrid.config import Config
from hybrid.system.process.descriptors import descriptor_limit

logger = logging.getLogger("hybrid.error")

_OWN = 24  # standard streams, links, arena, event loop, watchdog, a replacement's socket and pidfd
_OF_A_SLOT = 4  # a pool process's socket and pidfd, a pool thread's pipe
_APPLICATION = 64  # its files, databases and clients


def fit_connections(config: Config, inherited: int) -> Config:
    """Return the configuration with no more connections than there are descriptors for.

    Args:
        config: what is wished for.
        inherited: descriptors that a worker gets from the primary.
    """
    limit, wished = descriptor_limit(), config.http.limit_connections
    reserve = _OWN + _APPLICATION + inherited + _OF_A_SLOT * config.cpu.slots
    room = max(1, limit - reserve)
    if 0 < wished <= room:
        return config
    logger.log(
        logging.WARNING if wished else logging.DEBUG,
        "%d connections per worker are possible with %d descriptors (ulimit -n), "
        "and not --limit-connections %d",
        room,
        limit,
        wished,
    )
    return replace(config, http=replace(config.http, limit_connections=room))
