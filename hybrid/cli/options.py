"""The flags of ``hybrid serve``, made from the settings of `hybrid.config`.

A flag's environment variable is ``HYBRID_`` and its name; its key in the
configuration file is its name. Precedence: command line, environment, file,
default.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from hybrid.cli.settings import load_file
from hybrid.cli.types import (
    DURATION,
    LIMIT,
    OCTAL,
    PATIENCE,
    PEERS,
    SIZE,
    STATE_URL,
    Count,
    as_typed,
)
from hybrid.config import Config, settings, value_at
from hybrid.setting import Heading, Setting

_TYPES: dict[str, click.ParamType[Any]] = {
    "DURATION": DURATION,
    "DURATION>0": PATIENCE,
    "SIZE": SIZE,
    "OCTAL": OCTAL,
    "ADDRESSES": PEERS,
    "N|auto|none": LIMIT,
    "FILE": click.Path(dir_okay=False, path_type=Path),
    "FOLDER": click.Path(file_okay=False, exists=True, path_type=Path),
    "ADDRESS": click.STRING,
    "MODULE": click.STRING,
    "PATH": click.STRING,
    "URL": STATE_URL,
}


class Flag(click.Option):
    """An option that the help shows under a heading, without the range of a number."""

    def __init__(self, *args: Any, heading: Heading, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what follows the help in brackets: the default."""
        extra: Any = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def parameters() -> list[click.Parameter]:
    """Return the parameters of ``hybrid serve``: a flag for every setting, and a few more."""
    first = Config()
    flags = [_flag(about, value_at(first, place)) for place, about in settings().items()]
    return [click.Argument(["app"], default=first.app.target, required=False), *_BY_HAND, *flags]


def _flag(about: Setting, default: Any) -> Flag:
    kind, metavar = _kind(about.written)
    if kind is LIMIT:
        default = "auto"  # of the command line; a Config made by a script has no limit
    several = isinstance(default, tuple) and kind is not PEERS
    return Flag(
        [*about.flags, about.parameter],
        heading=about.heading,
        help=about.help,
        type=kind,
        metavar=metavar,
        is_flag=not about.written,
        multiple=several,
        default=list(default) if several else as_typed(kind, default),
        show_default=default not in ("", ()),
    )


def _kind(written: str) -> tuple[click.ParamType[Any] | None, str | None]:
    """Return how a value is read, and how the help shows that (None: as click does)."""
    if written in _TYPES:
        return _TYPES[written], written
    if number := re.fullmatch(r"(\d+)\.\.(\d*)", written):
        most = int(number[2]) if number[2] else None
        return Count(int(number[1]), most), "N" if most is None else written
    return (click.Choice(written.split("|")), None) if written else (None, None)


_BY_HAND = (  # they set no field of their own
    Flag(
        ["--host"],
        heading=Heading.ADDRESS,
        help="host to listen on; short for --bind HOST:PORT  [default: 127.0.0.1]",
        metavar="HOST",
        default=None,
    ),
    Flag(
        ["--port"],
        heading=Heading.ADDRESS,
        help="port to listen on; short for --bind HOST:PORT; 0: any free port  [default: 8000]",
        metavar="0..65535",
        type=Count(0, 65535),
        default=None,
    ),
    Flag(
        ["--config", "-c"],
        heading=Heading.CONFIGURATION,
        help="TOML file with settings; its keys are the names of flags",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        is_eager=True,
        expose_value=False,
        callback=load_file,
    ),
    Flag(
        ["--check-config"],
        heading=Heading.CONFIGURATION,
        help="check the settings and the application, then exit",
        is_flag=True,
    ),
    Flag(
        ["--print-config"],
        heading=Heading.CONFIGURATION,
        help="print every setting and where it comes from, then exit",
        is_flag=True,
    ),
)
