"""What the primary imports before it forks, so that its children share the pages.

Third-party packages and hybrid itself, never the application: a reload must see
new code, and a connection opened at import must not be shared by eight workers.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from importlib import import_module

from hybrid.errors import ConfigError
from hybrid.system.process.blas import limit_before_import
from hybrid.system.process.processes import thread_count

logger = logging.getLogger("hybrid.error")

_STACK = (
    "numpy",
    "numpy.random",
    "numpy.fft",
    "numpy.linalg",
    "orjson",
    "falcon.asgi",
    "falcon.media",
    "httptools",
    "asyncio",
    "threadpoolctl",
    "concurrent.futures.thread",
    "cmath",  # jobs compute with it as well as with numpy
    "html",  # its table of entities is 2 MB; imported later, in every worker
    "importlib.metadata",
    "numpy.typing",
    "hybrid.api.install",
    "hybrid.api.resources",
    "hybrid.pool.process.member",
    "hybrid.worker.worker",
)
_OPTIONAL = ("uvloop",)


def preload(modules: Sequence[str]) -> None:
    """Import the stack and the operator's `modules`; then freeze the collector.

    Raises:
        ConfigError: one of the operator's modules cannot be imported.
    """
    limit_before_import(1)
    for name in _STACK:
        import_module(name)
    for name in _OPTIONAL:
        try:
            import_module(name)
        except ImportError:
            logger.debug("%s is not installed; workers use asyncio's own event loop", name)
    for name in modules:
        try:
            import_module(name)
        except Exception as ex:
            raise ConfigError(
                f"cannot import {name} (--preload): {type(ex).__name__}: {ex}"
            ) from ex
    threads = thread_count()
    if threads > 1:
        # A lock that another thread holds at the fork is never released in the child.
        logger.warning(
            "a preloaded module has started threads (%d run now); workers do not inherit them",
            threads,
        )
    # Teacher: the collector writes to every object it visits; frozen objects are
    # not visited, so their pages stay shared with the primary (bpo-31558).
    gc.collect()
    gc.freeze()
