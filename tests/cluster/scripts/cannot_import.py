from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import tell

primary = tell(cluster.Primary("127.0.0.1:0"))
primary.fork(cluster.serve, "nowhere:app")
sys.exit(primary.run())
