"""Which interface an application speaks, and what cannot be served at all.

Told by what it can be called with, which is what the server will do: an ASGI application takes
scope, receive and send; a WSGI application takes environ and start_response.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

from hybrid.errors import AppLoadError

Interface = Literal["asgi", "wsgi"]


def interface_of(app: Callable[..., Any]) -> Interface | None:
    """Return what `app` speaks; None: its signature does not tell, or is neither."""
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # written in C
        return None
    takes_two, takes_three = _takes(signature, 2), _takes(signature, 3)
    if takes_three and (_is_coroutine_function(app) or not takes_two):
        return "asgi"
    if takes_two and not takes_three:
        return None if _is_coroutine_function(app) else "wsgi"
    if not takes_two:
        return None
    names = list(signature.parameters)
    if "start_response" in names:
        return "wsgi"
    return "asgi" if {"receive", "send"} <= set(names) else None


def chosen_interface(app: Any, wanted: str, target: str) -> Interface:
    """Return the interface to serve `app` by.

    Args:
        app: what was found at `target`.
        wanted: ``--interface``.
        target: where the application is; for the message.

    Raises:
        AppLoadError: it cannot be served; one sentence that names the remedy.
    """
    found = interface_of(app) if callable(app) and not isinstance(app, type) else None
    if found is None:
        _refuse_what_is_neither(app, target)
    if found is None and wanted != "auto":
        found = "asgi" if wanted == "asgi" else "wsgi"  # the operator knows better
    if found is None:
        raise AppLoadError(
            f"{target} does not show whether it is an ASGI or a WSGI application: "
            f"say --interface asgi or --interface wsgi"
        )
    if wanted not in ("auto", found):
        raise AppLoadError(
            f"{target} is {_called(found)}, and --interface {wanted} was given: "
            f"leave it out, or say --interface {found}"
        )
    return found


def check_application(app: object) -> None:
    """Check what a script gives to `hybrid.cluster.serve`.

    Raises:
        TypeError: it cannot be called as ASGI or as WSGI; every request would answer 500.
    """
    is_refused = not callable(app) or isinstance(app, type)
    if is_refused or _why_not_callable_so(app) is not None:  # type: ignore[arg-type]
        raise TypeError(
            f"{app!r} is not an application: it takes neither (scope, receive, send) nor "
            "(environ, start_response); a function of one request is for cluster.serve_function"
        )


def takes_arguments(call: object, count: int) -> bool:
    """Return whether `call` can be called with `count` arguments, as far as its signature tells."""
    if not callable(call):
        return False
    try:
        return _takes(inspect.signature(call), count)
    except (TypeError, ValueError):  # written in C: calling it will show
        return True


def refuse_async_factory(factory: Any, target: str) -> None:
    """Raise AppLoadError if `factory` would have to be awaited."""
    if callable(factory) and not isinstance(factory, type) and _is_coroutine_function(factory):
        raise AppLoadError(
            f"factory {target} is async, and no event loop runs when it is called: make it a "
            f"plain function, and do what has to be awaited in the application's lifespan"
        )


def _refuse_what_is_neither(app: Any, target: str) -> None:
    problem = None
    if isinstance(app, ModuleType):
        names = [name for name in ("app", "application", "api") if callable(vars(app).get(name))]
        problem = f"is a module: name the application in it, as {app.__name__}:{[*names, 'app'][0]}"
    elif isinstance(app, type):
        problem = (
            f"is a class: name an instance of it (app = {app.__name__}()), or let --factory make "
            f"one"
        )
    elif inspect.isawaitable(app):
        problem = "has to be awaited: name the application itself"
    elif not callable(app):
        problem = f"is {_article(type(app).__name__)}, which cannot be called: name an application"
    else:
        problem = _why_not_callable_so(app)
    if problem is not None:
        if inspect.iscoroutine(app):
            app.close()
        raise AppLoadError(f"{target} {problem}")


def _why_not_callable_so(app: Callable[..., Any]) -> str | None:
    """Return what is wrong with the arguments of `app`; None: nothing that can be seen."""
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return None
    if _takes(signature, 3) or (_takes(signature, 2) and not _is_coroutine_function(app)):
        return None
    if _is_coroutine_function(app):
        return (
            "is a coroutine function, but takes other arguments than an ASGI application: "
            "name one that takes scope, receive and send"
        )
    if _takes(signature, 0):
        return "takes no argument, as a factory does: say --factory"
    return (
        "takes neither scope, receive and send (ASGI 3) nor environ and start_response (WSGI): "
        "name an application; one of ASGI 2 needs asgiref.compatibility.guarantee_single_callable"
    )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _is_coroutine_function(app: Callable[..., Any]) -> bool:
    of_an_instance = inspect.getattr_static(type(app), "__call__", None)
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(of_an_instance)


def _called(interface: Interface) -> str:
    return "an ASGI application" if interface == "asgi" else "a WSGI application"


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
