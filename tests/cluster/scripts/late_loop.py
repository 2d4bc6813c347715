"""A watched loop that ticks until it comes late once; then it stands still."""

from __future__ import annotations

import threading
import time

from hybrid.worker.upkeep.watchdog import Watchdog
from tests.cluster.scripts.common import say

TICK, LATE, LIMIT = 0.05, 1.0, 0.5  # s

due = time.monotonic()
Watchdog(1, LIMIT, lambda: due).start()
rest = threading.Event()
say("ticks")
while time.monotonic() - due < LATE:
    due = time.monotonic() + TICK
    rest.wait(TICK)
rest.wait()  # whichever thread wakes first: the watchdog finds this one late
