from __future__ import annotations

import sys
import threading
import time

from hybrid import cluster

primary = cluster.Primary()
threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
primary.fork(lambda: None)
primary.fork(lambda: None)
sys.exit(primary.run())
