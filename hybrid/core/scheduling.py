"""How a new connection finds its worker."""

from __future__ import annotations

from enum import Enum


class Policy(Enum):
    """The scheduling policies; fixed for the life of the cluster."""

    SHARED = "shared"  # every worker accepts on the one listener: who is idle is quickest
    REUSEPORT = "reuseport"  # a listener per slot; the kernel hashes, whoever is busy
    ROUND_ROBIN = "round-robin"  # the primary accepts and passes on, in turn
    LEAST_LOADED = "least-loaded"  # the same, to whoever has least to do
