"""``hybrid.install(app)``: recognises the framework, and imports it only then."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_TEACHERS = {  # class of the application: (module of ours, function in it)
    "falcon.asgi.app.App": ("hybrid.api.install", "install"),
    "falcon.app.App": ("hybrid.integrations.falcon_wsgi", "install_in_falcon"),
    "starlette.applications.Starlette": ("hybrid.integrations.starlette", "install_in_starlette"),
    "litestar.app.Litestar": ("hybrid.integrations.litestar", "install_in_litestar"),
    "quart.app.Quart": ("hybrid.integrations.quart", "install_in_quart"),
    "flask.app.Flask": ("hybrid.integrations.flask", "install_in_flask"),
}
_DJANGO = "django.core.handlers.base.BaseHandler"


def install(app: Any) -> None:
    """Teach an application hybrid's manners; nothing else changes.

    Falcon (ASGI and WSGI), Starlette, FastAPI, Litestar, Quart and Flask:

    * a job without a result becomes its HTTP status (503 with Retry-After, 504, 500, 507), as
      ``application/problem+json`` with the request's id;
    * answers of requests that ran jobs carry ``Server-Timing``: queue, run, total.

    Under Falcon every other error is a problem document as well, and ``application/x-npy`` and
    JSON bodies have media handlers; for the other frameworks' arrays see the module of
    `hybrid.integrations` that is called like the framework.

    Raises:
        TypeError: the application is of another kind; the message names what to do instead.
    """
    names = [f"{each.__module__}.{each.__qualname__}" for each in type(app).__mro__]
    for name in names:
        if name in _TEACHERS:
            module, function = _TEACHERS[name]
            getattr(import_module(module), function)(app)
            return
    if _DJANGO in names:
        raise TypeError(
            "Django takes its middleware from its settings: "
            'MIDDLEWARE = ["hybrid.integrations.django.JobMiddleware", …]'
        )
    raise TypeError(
        f"install() does not know {names[0]}: if it is an ASGI application, wrap it: "
        f"app = hybrid.Middleware(app)"
    )
