from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import serve

primary = cluster.Primary("127.0.0.1:0")
primary.on("listening")(lambda *args: sys.exit(5))
primary.fork(serve)
primary.run()
