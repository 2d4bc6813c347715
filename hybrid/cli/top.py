"""``hybrid top``: the cluster, live."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hybrid.cli.client import Client, find, target_options
from hybrid.cli.types import DURATION, Count


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--interval", type=DURATION, default="1s", show_default=True, help="time between two updates"
)
@click.option(
    "--count", type=Count(0), default=0, metavar="N", help="number of updates; 0: until Ctrl-C"
)
@target_options
def top(interval: float, count: int, control_socket: Path | None, pid_file: Path | None) -> None:
    """Show every worker live, until Ctrl-C.

    Rates and quantiles are those of the last interval.
    """
    from rich.live import Live

    from hybrid.cli.table import add_memory, plain_console, render

    client = Client(find(control_socket, pid_file))
    console = plain_console()
    seen, at = add_memory(client.status()), time.monotonic()
    with Live(
        render(seen, console.width),
        console=console,
        auto_refresh=False,
        screen=console.is_terminal,
    ) as live:
        looks = 1
        try:
            while looks != count:
                time.sleep(interval)
                fresh, now = add_memory(client.status()), time.monotonic()
                live.update(render(fresh, console.width, seen, now - at), refresh=True)
                seen, at, looks = fresh, now, looks + 1
        except KeyboardInterrupt:
            pass
    client.close()
