from __future__ import annotations

import os

from hybrid import cluster
from tests.cluster.scripts.common import say


def report(name):
    say("worker", name, os.environ["ROLE"], os.environ.get("NODE_UNIQUE_ID"))


primary = cluster.Primary()
primary.fork(report, "one", env={"ROLE": "mail"})
primary.fork(report, "two", env={"ROLE": "cron"})
code = primary.run()
say("primary", os.environ.get("ROLE"))
