"""The demonstration application: one set of endpoints per row of the decision matrix.

It uses hybrid as any application would: jobs from a module of their own, and
``hybrid.install``. ``hybrid serve`` serves it when no application is named.
"""

from __future__ import annotations

from typing import Any

import falcon.asgi

import hybrid
from workloads.cpu import Kernel, Kernels
from workloads.home import Home
from workloads.messages import Ping
from workloads.resources import Block, Counter, Crash, Echo, FanOut, Hello, Leak, Mixed, Wait
from workloads.sharing import Login, Logout, Me, SharedCounter


def create_app() -> falcon.asgi.App[Any, Any]:
    """Return the application."""
    app = falcon.asgi.App()
    hybrid.install(app)
    routes: dict[str, object] = {
        "/": Home(),
        "/hello": Hello(),
        "/io/wait": Wait(),
        "/io/fanout": FanOut(),
        "/io/echo": Echo(),
        "/cpu": Kernels(),
        "/cpu/{kernel}": Kernel(),
        "/mixed": Mixed(),
        "/ops/crash": Crash(),
        "/ops/block": Block(),
        "/ops/leak": Leak(),
        "/isolation/counter": Counter(),
        "/state/counter": SharedCounter(),
        "/session/login": Login(),
        "/session/logout": Logout(),
        "/session/me": Me(),
        "/ipc/ping": Ping(),
        "/livez": hybrid.Live(),
        "/readyz": hybrid.Ready(),
        "/healthz": hybrid.Ready(),
        "/status": hybrid.Status(),
        "/metrics": hybrid.Metrics(),
    }
    for path, resource in routes.items():
        app.add_route(path, resource)
    return app


app = create_app()
