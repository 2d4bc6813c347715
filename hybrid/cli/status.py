"""``hybrid status``: the cluster, once."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from hybrid.cli.client import Client, find, target_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="print everything as JSON")
@target_options
def status(as_json: bool, control_socket: Path | None, pid_file: Path | None) -> None:
    """Show every worker: state, load, latency, pool, memory.

    Figures are at most 0.1 s old. A worker that hangs is shown as well.
    """
    from hybrid.cli.table import add_memory, plain_console, render

    client = Client(find(control_socket, pid_file))
    found = add_memory(client.status())
    client.close()
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    console = plain_console()
    console.print(render(found, console.width))
