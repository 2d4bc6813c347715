"""How many connections a worker has descriptors for.

At its limit of descriptors a worker accepts nothing, gets no pool process and
opens no file. So the number of connections is limited first: they take most
descriptors, and they can wait, in the backlog.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from hybrid.config import Config
from hybrid.system.process.descriptors import descriptor_limit

logger = logging.getLogger("hybrid.error")

_OWN = 24  # standard streams, links, arena, event loop, watchdog, a replacement's socket and pidfd
_PER_SLOT = 4  # a pool process's socket and pidfd, a pool thread's pipe
_APPLICATION = 64  # its files, databases and clients


def fit_connections(config: Config, inherited: int) -> Config:
    """Return the configuration, with connections limited to the descriptors.

    Args:
        config: the operator's.
        inherited: descriptors that a worker gets from the primary.
    """
    limit, wanted = descriptor_limit(), config.http.limit_connections
    reserve = _OWN + _APPLICATION + inherited + _PER_SLOT * config.cpu.slots
    room = max(1, limit - reserve)
    if 0 < wanted <= room:
        return config
    logger.log(
        logging.WARNING if wanted else logging.DEBUG,
        "%d connections per worker are possible with %d descriptors (ulimit -n), "
        "and not --limit-connections %d",
        room,
        limit,
        wanted,
    )
    return replace(config, http=replace(config.http, limit_connections=room))
