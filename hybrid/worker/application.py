"""Importing the application, with a clear error when that fails."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

from hybrid.config import AppConfig
from hybrid.errors import AppLoadError
from hybrid.worker.interface import chosen_interface, refuse_async_factory


def load_application(settings: AppConfig) -> Any:
    """Import ``module:attribute`` and return the ASGI or WSGI application.

    The application's folder goes first on ``sys.path``, resolved anew in every
    worker, so that a reload follows a moved symbolic link.

    Raises:
        AppLoadError: no such module or attribute, nothing that can be served, or
            its import raised; then the message ends with the traceback, from the
            application's first line on.
    """
    module_name, colon, attribute = settings.target.partition(":")
    if not colon or not module_name or not attribute or module_name.startswith("."):
        raise AppLoadError(f"{settings.target!r} is not of the form module:attribute")
    folder = str(settings.app_dir.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _import(module_name, settings.target, folder)
    found = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise AppLoadError(f"module {module_name!r} has no attribute {attribute!r}")
        found = getattr(found, name)
    if settings.factory:
        refuse_async_factory(found, settings.target)
        found = _call(found, settings.target)
    chosen_interface(found, settings.interface, settings.target)
    return found


def _import(name: str, target: str, folder: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as ex:
        if ex.name and (name == ex.name or name.startswith(ex.name + ".")):
            raise AppLoadError(
                f"cannot import {target}: there is no module {ex.name!r}; looked in {folder} "
                f"and the installed packages (another folder: --app-dir)"
            ) from None
        raise AppLoadError(f"cannot import {target}:\n{_application_traceback(ex)}") from ex
    except Exception as ex:
        raise AppLoadError(f"cannot import {target}:\n{_application_traceback(ex)}") from ex


def _call(factory: Any, target: str) -> Any:
    try:
        return factory()
    except Exception as ex:
        raise AppLoadError(f"factory {target} raised:\n{_application_traceback(ex)}") from ex


def _application_traceback(ex: BaseException) -> str:
    """Return the traceback without the frames of hybrid and importlib: they explain nothing."""
    frames = ex.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(ex), ex, frames)).rstrip()


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or "importlib" in filename
