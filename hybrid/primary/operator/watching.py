"""``--reload``: a process that watches the application's files and reports changes.

     primary                          |  watcher (forked like every other process)
                                      |
     reload <-- channel <-------------+-- "these files changed" <-- watchfiles

It is a process of its own because watchfiles starts a thread, and a process
that forks, like the primary, must not have one.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import orjson

from hybrid.errors import ConfigError, LinkError
from hybrid.system.sockets.channel import Channel

logger = logging.getLogger("hybrid.error")

_SHOWN = 3  # names in the log line


def check_available() -> None:
    """Check that watchfiles is installed, before anything is started.

    Raises:
        ConfigError: it is not; says how to install it.
    """
    if importlib.util.find_spec("watchfiles") is None:
        raise ConfigError("--reload needs watchfiles: pip install 'hybrid-server[reload]'")


def watch_main(channel: Channel, folder: Path) -> int:
    """Report every change of a Python or TOML file below `folder`. Runs in the watcher."""
    import watchfiles

    wanted = watchfiles.PythonFilter(extra_extensions=(".toml",))
    for changes in watchfiles.watch(folder, watch_filter=wanted, raise_interrupt=False):
        names = sorted({str(Path(path).relative_to(folder)) for _, path in changes})
        channel.send(orjson.dumps(names[: _SHOWN + 1]))
    return 0


def read_changes(channel: Channel) -> list[str]:
    """Return the names that the watcher has reported since the last call.

    Raises:
        EOFError: the watcher has exited.
    """
    try:
        return [name for frame in channel.receive() for name in orjson.loads(frame.payload)]
    except (OSError, LinkError) as ex:
        raise EOFError(str(ex)) from ex


def describe(names: list[str]) -> str:
    """Return at most three of the names for a log line."""
    more = " …" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
