"""Which interface an application speaks, and what is refused before a worker is ready."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import pytest

from hybrid.config import AppConfig
from hybrid.errors import AppLoadError
from hybrid.worker.application import load_application
from hybrid.worker.interface import chosen_interface, interface_of


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


def plain_asgi(scope: Any, receive: Any = None, send: Any = None) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


def wsgi_with_more(environ: Any, start_response: Any, more: Any = None) -> Any: ...


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class AsyncWrapper:
    async def __call__(self, *args: Any) -> None: ...


class Wsgi:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...

    def method(self, env: Any, respond: Any) -> Any: ...


class Flaskish(Wsgi):
    wsgi_app = Wsgi.__call__


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi, "asgi"),
        (plain_asgi, "asgi"),
        (Asgi(), "asgi"),
        (AsyncWrapper(), "asgi"),
        (falcon.asgi.App(), "asgi"),
        (wsgi, "wsgi"),
        (wsgi_with_more, "wsgi"),
        (Wsgi(), "wsgi"),
        (Wsgi().method, "wsgi"),
        (Flaskish(), "wsgi"),
        (falcon.App(), "wsgi"),
    ],
)
def test_the_interface_is_seen(app: Any, interface: str) -> None:
    assert interface_of(app) == interface
    assert chosen_interface(app, "auto", "a:b") == interface


def wrapper(*args: Any) -> Any: ...


def test_what_does_not_show_needs_to_be_said() -> None:
    with pytest.raises(AppLoadError, match="say --interface asgi or --interface wsgi"):
        chosen_interface(wrapper, "auto", "a:b")
    assert chosen_interface(wrapper, "wsgi", "a:b") == "wsgi"
    assert chosen_interface(wrapper, "asgi", "a:b") == "asgi"


async def handler(request: Any) -> None: ...


async def async_wsgi(environ: Any, start_response: Any) -> None: ...


def factory() -> Any: ...


def asgi_2(scope: Any) -> Any: ...


NOT_SERVED = [
    (None, "auto", "is a NoneType, which cannot be called"),
    ({}, "auto", "is a dict, which cannot be called"),
    (types.ModuleType("shop"), "auto", "is a module: name the application in it, as shop:app"),
    (Asgi, "auto", r"is a class: name an instance of it \(app = Asgi\(\)\), or let --factory"),
    (handler, "auto", "is a coroutine function, but takes other arguments than an ASGI"),
    (async_wsgi, "auto", "is a coroutine function, but takes other arguments than an ASGI"),
    (factory, "auto", "takes no argument, as a factory does: say --factory"),
    (asgi_2, "auto", "guarantee_single_callable"),
    (wsgi, "asgi", "is a WSGI application, and --interface asgi was given"),
    (asgi, "wsgi", "is an ASGI application, and --interface wsgi was given"),
]


@pytest.mark.parametrize(("app", "wanted", "sentence"), NOT_SERVED)
def test_what_cannot_be_served_is_refused_in_one_sentence(
    app: Any, wanted: str, sentence: str
) -> None:
    with pytest.raises(AppLoadError, match=sentence) as caught:
        chosen_interface(app, wanted, "shop:app")
    assert str(caught.value).startswith("shop:app ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["app", "application"])
def test_a_module_is_answered_with_the_name_in_it(name: str) -> None:
    module = types.ModuleType("shop.web")
    setattr(module, name, asgi)
    with pytest.raises(AppLoadError, match=f"as shop.web:{name}"):
        chosen_interface(module, "auto", "shop:web")


def test_an_async_factory_is_not_called(tmp_path: Path) -> None:
    (tmp_path / "made_async.py").write_text("async def make():\n    raise SystemExit\n")
    settings = AppConfig("made_async:make", app_dir=tmp_path, factory=True)
    with pytest.raises(AppLoadError, match="factory made_async:make is async"):
        load_application(settings)


def test_a_factory_that_returns_a_coroutine_is_refused(tmp_path: Path) -> None:
    code = "async def app(): ...\n\n\ndef make():\n    return app()\n"
    (tmp_path / "made_later.py").write_text(code)
    settings = AppConfig("made_later:make", app_dir=tmp_path, factory=True)
    with pytest.raises(AppLoadError, match="has to be awaited"):
        load_application(settings)


def test_a_class_is_a_factory(tmp_path: Path) -> None:
    code = "class App:\n    def __call__(self, environ, start_response): ...\n"
    (tmp_path / "made_class.py").write_text(code)
    settings = AppConfig("made_class:App", app_dir=tmp_path, factory=True)
    assert interface_of(load_application(settings)) == "wsgi"
