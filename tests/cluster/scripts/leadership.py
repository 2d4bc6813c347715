from __future__ import annotations

import os
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say, serve

primary = cluster.Primary("127.0.0.1:0")


@cluster.on_leadership
def lead(leads):
    say("leads", os.getpid()) if leads else None


@cluster.on_event
def hear(event):
    say("told", os.getpid(), event["kind"])


for _ in range(3):
    primary.fork(serve)
sys.exit(primary.run())
