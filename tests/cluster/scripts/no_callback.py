from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.talking_worker import talk, when_ready

primary = cluster.Primary()

when_ready(primary, 1, lambda first: first.send({"to": "primary", "request": 1}))
primary.fork(talk)
sys.exit(primary.run())
