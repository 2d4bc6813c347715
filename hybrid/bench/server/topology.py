"""The shapes of a server that the decision matrix compares."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from hybrid.bench.server.served import Server

NO_LIMIT = "∞"  # ends the key of a topology without the limit on jobs at once


@dataclass(frozen=True, slots=True)
class Topology:
    """How many I/O workers, and where their jobs run."""

    key: str  # short, for columns: "1x0", "NxP"
    title: str
    io_workers: int
    cpu_pool: int  # slots per worker; 0: jobs run inline
    lane: str = "auto"
    cpu_limit: str = "auto"

    @property
    def limited_key(self) -> str:
        """The key of the same topology with the limit on jobs at once."""
        return self.key.removesuffix(NO_LIMIT)

    def flags(self) -> list[str]:
        """Return the options of `hybrid serve` that make this topology."""
        flags = ["--io-workers", str(self.io_workers), "--cpu-pool", str(self.cpu_pool)]
        if self.cpu_pool:
            flags += ["--cpu-lane", self.lane, "--cpu-limit", self.cpu_limit]
        return flags

    def command(self) -> list[str]:
        """Return the command line that serves the demonstration application."""
        serve = [sys.executable, "-m", "hybrid", "serve", "--bind", "127.0.0.1:0"]
        return [*serve, *self.flags(), "--chaos", "--no-access-log"]

    def server(self, *more: str) -> Server:
        """Return the server of this topology, not yet started.

        Args:
            more: further arguments of `hybrid serve`, such as another application.
        """
        return Server([*self.command(), *more])


def cpus() -> int:
    """Return how many CPUs this process may use (affinity, not the host's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def six(workers: int, slots: int) -> tuple[Topology, ...]:
    """Return the matrix's columns: one process or a cluster × where jobs run."""
    return (
        Topology("1x0", "one process, inline", 1, 0),
        Topology("1xT", "one process + threads", 1, slots, "thread"),
        Topology("1xP", "one process + processes", 1, slots, "process"),
        Topology("Nx0", "cluster only", workers, 0),
        Topology("NxT", "cluster + threads", workers, slots, "thread"),
        Topology("NxP", "cluster + processes", workers, slots, "process"),
    )


def unlimited(workers: int, slots: int) -> tuple[Topology, ...]:
    """Return the columns that show what the cluster-wide limit is worth."""
    return (
        Topology(f"NxT{NO_LIMIT}", "cluster + threads, no limit", workers, slots, "thread", "none"),
        Topology(
            f"NxP{NO_LIMIT}", "cluster + processes, no limit", workers, slots, "process", "none"
        ),
    )
