"""What the resources know of the cluster; a worker sets the real view."""

from __future__ import annotations

import os
from typing import Any, Protocol


class ClusterView(Protocol):
    """What a resource may ask about the cluster."""

    def ready(self) -> bool:
        """Return whether this process takes new requests."""
        ...

    def why_not_ready(self) -> str:
        """Return the reason, in words."""
        ...

    def topology(self) -> dict[str, Any]:
        """Return what was fixed at the start: workers, slots, limit, budget."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the state of every worker."""
        ...

    def metrics(self) -> str:
        """Return the counters of the whole cluster in Prometheus' text format."""
        ...


class SingleProcess:
    """The view without hybrid's server (a test, another ASGI server): one process, jobs inline."""

    def ready(self) -> bool:
        """Return True: there is nothing to wait for."""
        return True

    def why_not_ready(self) -> str:
        """Return nothing: it is always ready."""
        return ""

    def topology(self) -> dict[str, Any]:
        """Return the topology of one process without a pool."""
        return {"io_workers": 1, "cpu_pool": 0, "cpu_lane": "inline", "worker": 0, "chaos": False}

    def status(self) -> dict[str, Any]:
        """Return this process as the only worker."""
        workers = [{"slot": 0, "pid": os.getpid(), "state": "ready"}]
        return {"topology": self.topology(), "workers": workers, "totals": {}}

    def metrics(self) -> str:
        """Return nothing: without a server nothing is counted."""
        return ""


_view: ClusterView = SingleProcess()


def set_view(view: ClusterView) -> None:
    """Set the view of this process; once per worker, before it serves."""
    global _view  # one fact about the process
    _view = view


def current_view() -> ClusterView:
    """Return the view of this process."""
    return _view
