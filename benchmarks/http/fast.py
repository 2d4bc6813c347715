"""Start fastpysgi with the application."""

from __future__ import annotations

import sys

import fastpysgi  # type: ignore[import-not-found,unused-ignore]

from benchmarks.http.app import app

if __name__ == "__main__":
    fastpysgi.run(app, host="127.0.0.1", port=int(sys.argv[1]))
