from __future__ import annotations

import sys

from hybrid import cluster
from tests.cluster.scripts.common import say


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


async def serve_wsgi():
    await cluster.serve(application)


primary = cluster.Primary("127.0.0.1:0")
primary.fork(serve_wsgi)
say(primary.address)
sys.exit(primary.run())
