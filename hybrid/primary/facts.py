"""What is fixed when a cluster starts, and any worker may show."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hybrid import __version__
from hybrid.config import Config
from hybrid.system.listeners import Listener


def cluster_facts(
    config: Config, listeners: Sequence[Listener], budget: int, began: float
) -> dict[str, object]:
    """Return them.

    Args:
        config: what is in force.
        listeners: where the cluster listens.
        budget: CPUs to plan for.
        began: monotonic s.
    """
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
        "cpu_budget": budget,
        "scheduling": config.scheduling,
    }
