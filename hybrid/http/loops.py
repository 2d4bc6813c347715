"""Which event loop a worker runs."""

from __future__ import annotations

import asyncio

from hybrid.errors import ConfigError


def new_event_loop(name: str = "auto") -> asyncio.AbstractEventLoop:
    """Return a new loop; ``auto`` is uvloop where it is installed.

    Raises:
        ConfigError: uvloop was asked for by name and is not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:
        if name == "uvloop":
            raise ConfigError("--loop uvloop: uvloop is not installed") from None
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
