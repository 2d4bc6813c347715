"""Giving up keep-alive connections above the mean: the worker's half."""

from __future__ import annotations

from hybrid.core.lifecycle import State
from hybrid.core.rebalancing import Balance
from hybrid.http.server import HttpServer
from hybrid.system.scoreboard import Scoreboard
from hybrid.system.snapshot import STATES

_READY = STATES.index(State.READY)


class Balancer:
    """Looked at by the pulse; some 2 µs per worker of the cluster, once a second."""

    def __init__(self, scoreboard: Scoreboard, server: HttpServer) -> None:
        self._scoreboard, self._server = scoreboard, server
        self._balance = Balance()

    def look(self, mine: int, now: float) -> None:
        """Compare `mine`, the connections of this worker, with everybody's."""
        if not self._balance.is_due(now):
            return
        everybody = [
            int(row.get("connections"))
            for row in self._scoreboard.rows()
            if row.get("state") == _READY
        ]
        self._server.shed_keepalive(self._balance.look(mine, everybody, now))
