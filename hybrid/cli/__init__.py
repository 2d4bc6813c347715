"""The ``hybrid`` command. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

import click

from hybrid import __version__
from hybrid.system.process.streams import give_up_stdout, open_standard_streams

_HELP = """A process cluster with a compute pool in each worker, for Falcon and numpy.

\b
Examples:
  hybrid serve                                   the demonstration application
  hybrid serve --io-workers 8 --cpu-pool 4       8 workers × 4 jobs at once
  hybrid serve shop.app:app --bind 0.0.0.0:80    your own application
  hybrid check shop.app:app && hybrid reload     new code, if it can start
  hybrid status --json                           all workers, for a program
  hybrid top                                     all workers, live
  hybrid events                                  what happens to them, live
  hybrid scale +1; hybrid drain 3                add one; replace number 3
  hybrid stop                                    finish all requests, then end
  hybrid bench load http://127.0.0.1:8000/hello  open-loop load on any server
  hybrid advise shop.app:app --get /books        the topology that fits best

\b
Signals of the primary (the process that `hybrid serve` starts):
  TERM, INT   finish all requests and their jobs, then exit; a second signal
              exits at once
  QUIT        exit at once
  HUP         replace the workers one by one, each new worker ready before its
              predecessor drains; if the terminal was closed: like TERM
  TTIN, TTOU  add a worker, remove a worker

\b
Exit codes: 0 success, 1 configuration or run-time error, 2 usage error, 3 no
worker ever became ready, 4 the application cannot be imported or served.
"""


class LazyGroup(click.Group):
    """Commands by name: (module, attribute); imported when used, not when help is shown."""

    def __init__(self, *args: Any, commands_in: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._where = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None when there is none of that name."""
        if cmd_name not in self._where:
            return None
        module, attribute = self._where[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a disk, a terminal that is gone


@click.group(
    cls=LazyGroup,
    commands_in={
        "serve": ("hybrid.cli.serve", "serve"),
        "check": ("hybrid.cli.check", "check"),
        "status": ("hybrid.cli.observe", "status"),
        "top": ("hybrid.cli.observe", "top"),
        "events": ("hybrid.cli.observe", "events"),
        "reload": ("hybrid.cli.control", "reload"),
        "scale": ("hybrid.cli.control", "scale"),
        "drain": ("hybrid.cli.control", "drain"),
        "stop": ("hybrid.cli.control", "stop"),
        "bench": ("hybrid.bench.cli", "bench"),
        "advise": ("hybrid.bench.advise_command", "advise"),
    },
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hybrid")
def cli() -> None:
    """Group the commands."""


def main() -> None:
    """Run the command line; the entry point of the package."""
    if sys.platform == "win32":
        sys.exit("hybrid needs fork and Unix sockets: on Windows run it inside WSL 2")
    open_standard_streams()
    try:
        cli(prog_name="hybrid")
    except OSError as ex:  # click itself handles a reader that is gone
        if ex.errno not in _FULL:
            raise
        give_up_stdout()
        sys.exit(f"Error: the output cannot be written: {ex.strerror}")
