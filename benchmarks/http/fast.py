"""Start fastpysgi with the application."""

from __future__ import annotations

import sys

import fastpysgi  # type: ignore[import-not-found,unused-ignore]

from benchmarks.http import app, wsgi_app

if __name__ == "__main__":
    served = wsgi_app.app if "wsgi" in sys.argv else app.app
    fastpysgi.run(served, host="127.0.0.1", port=int(sys.argv[1]))
