"""The ``hybrid`` command. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import errno
import sys

import click

from hybrid import __version__
from hybrid.cli.lazy import LazyGroup
from hybrid.system.streams import give_up_stdout, open_standard_streams

_HELP = """A process cluster with a compute pool in each worker, for Falcon and numpy.

\b
Examples:
  hybrid serve                                    the demonstration application
  hybrid serve --io-workers 8 --cpu-pool 4        8 processes, 4 jobs at once in each
  hybrid serve shop.app:app --bind 0.0.0.0:80     your own ASGI application
  hybrid check shop.app:app && hybrid reload      new code, if it can start
  hybrid status --json                            every worker, for a program
  hybrid top                                      the same, live
  hybrid events                                   what happens to workers, as it happens
  hybrid scale +1; hybrid drain 3                 one worker more; replace that of slot 3
  hybrid stop                                     finish every request, then end
  hybrid bench load http://127.0.0.1:8000/hello   an open-loop load on any server
  hybrid advise shop.app:app --get /books         which topology fits these endpoints

\b
Signals of the primary (the process that `hybrid serve` starts):
  TERM, INT   drain: finish requests and their jobs, then exit; a second one: at once
  QUIT        stop at once
  HUP         replace the workers one by one, each new one ready before its elder
              drains; when the terminal was closed: drain and exit
  TTIN, TTOU  one worker more, one worker less

\b
Exit codes: 0 clean, 1 configuration or run time, 2 usage, 3 no worker was ever
ready, 4 the application cannot be imported.
"""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a disk, a terminal that is gone


@click.group(
    cls=LazyGroup,
    commands_in={
        "serve": ("hybrid.cli.serve", "serve"),
        "check": ("hybrid.cli.check", "check"),
        "status": ("hybrid.cli.status", "status"),
        "top": ("hybrid.cli.top", "top"),
        "events": ("hybrid.cli.events", "events"),
        "reload": ("hybrid.cli.control", "reload"),
        "scale": ("hybrid.cli.control", "scale"),
        "drain": ("hybrid.cli.control", "drain"),
        "stop": ("hybrid.cli.control", "stop"),
        "bench": ("hybrid.bench.cli", "bench"),
        "advise": ("hybrid.bench.advise_cli", "advise"),
    },
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hybrid")
def cli() -> None:
    """Hold the commands together."""


def main() -> None:
    """Run the command line; the entry point of the package."""
    if sys.platform == "win32":
        sys.exit("hybrid needs fork and Unix sockets: on Windows run it inside WSL 2")
    open_standard_streams()
    try:
        cli(prog_name="hybrid")
    except OSError as ex:  # click itself sees to a reader that is gone
        if ex.errno not in _FULL:
            raise
        give_up_stdout()
        sys.exit(f"Error: the output cannot be written: {ex.strerror}")
