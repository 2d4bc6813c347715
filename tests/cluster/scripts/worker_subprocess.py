from __future__ import annotations

import subprocess
import sys

from hybrid import cluster
from tests.cluster.scripts.common import say

CODE = "from hybrid import cluster; print('slot', cluster.slot(), cluster.is_leader())"


def work():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    say(found.stdout, found.stderr)


primary = cluster.Primary()
primary.fork(work)
sys.exit(primary.run())
