from __future__ import annotations

import asyncio
import os
import signal
import sys

from hybrid import cluster
from tests.cluster.scripts.common import tell

PROGRAMS = {
    "nothing": lambda: None,
    "true": lambda: True,
    "a number": lambda: 42,
    "sys.exit": lambda: sys.exit(42),
    "os._exit": lambda: os._exit(42),
    "an exception": lambda: 1 / 0,
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGABRT": lambda: os.kill(os.getpid(), signal.SIGABRT),
    "a coroutine": lambda: asyncio.sleep(0, 7),
}

primary = tell(cluster.Primary())
primary.fork(PROGRAMS[sys.argv[1]])
sys.exit(primary.run())
