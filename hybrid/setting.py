"""What a field of the configuration says about itself, and all that is derived from it.

The options and the help of ``hybrid serve``, the environment variables, the keys
of the configuration file, ``--print-config``, the tables of CONFIGURATION.md and
the list of what a reload cannot change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")


class Heading(Enum):
    """What a setting is about: the parts of ``hybrid serve --help``, in this order."""

    APPLICATION = "Application"
    ADDRESS = "Address"
    WORKERS = "Workers"
    POOL = "Pool"
    CONNECTIONS = "Connections"
    LIMITS = "Limits"
    TIMEOUTS = "Timeouts"
    STATE = "Shared state"
    REPLACEMENT = "Replacement of workers"
    LOGGING = "Logging"
    CONTROL = "Control"
    CONFIGURATION = "Configuration"


@dataclass(frozen=True, slots=True)
class Setting:
    """How the operator sets a field."""

    flags: tuple[str, ...]  # "--yes/--no": a switch and its negative form
    written: str  # how a value is written; empty: the flag takes none
    heading: Heading
    help: str  # a phrase whose subject is the thing that is set
    fixed: bool  # held by the primary, which a reload does not replace

    @property
    def name(self) -> str:
        """Return the first long flag without its dashes: the key in a file."""
        long = next(flag for flag in self.flags if flag.startswith("--"))
        return long.split("/")[0].removeprefix("--")

    @property
    def parameter(self) -> str:
        """Return the name as click and Python spell it."""
        return self.name.replace("-", "_")


def setting(default: T, flags: str, heading: Heading, help: str, *, fixed: bool = False) -> T:
    """Return a dataclass field that the operator can set.

    Args:
        default: of the field.
        flags: as the help shows them: ``--io-workers -w 1..512``. What follows
            the flags says how a value is written: ``DURATION``, ``SIZE``,
            ``FILE`` and so on (see `hybrid.cli.options`), ``1..512`` or ``1..``
            for a whole number, ``text|json`` for one of these words.
        heading: under which the help shows it.
        help: a phrase whose subject is the thing that is set.
        fixed: whether a reload cannot change it.
    """
    words = flags.split()
    written = "" if words[-1].startswith("-") else words.pop()
    about = Setting(tuple(words), written, heading, help, fixed)
    made: Any = field(default=default, metadata={"setting": about})
    value: T = made  # a type checker takes a field for its default
    return value
