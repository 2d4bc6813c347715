"""`python serve.py WORKERS SLOTS`: uvicorn with its own workers, on a free port.

Prints where it listens when a first request has been answered.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time

import uvicorn
from uvicorn.supervisors import Multiprocess


def announce(port: int) -> None:
    """Wait for the first answer, then print the address as every server here does."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            connection.request("GET", "/hello")
            if connection.getresponse().read():
                break
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    print(f"listening on http://127.0.0.1:{port}", file=sys.stderr, flush=True)


def main() -> None:
    """Serve until a signal comes."""
    workers, os.environ["PEER_SLOTS"] = int(sys.argv[1]), sys.argv[2]
    config = uvicorn.Config(
        "app:app",
        host="127.0.0.1",
        port=0,
        workers=workers,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )
    listener = config.bind_socket()
    threading.Thread(target=announce, args=(listener.getsockname()[1],), daemon=True).start()
    Multiprocess(config, sockets=[listener]).run()


if __name__ == "__main__":
    main()
