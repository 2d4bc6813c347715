"""``hybrid status``, ``top`` and ``events``: what a running cluster does."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson

from hybrid.cli.client import Client, find, target_options
from hybrid.cli.types import DURATION, Count
from hybrid.core.messages import control_messages as c

# -- ``hybrid events``: what happens in a running cluster, as it happens ---------

_SHOWN_ELSEWHERE = {"kind", "slot", "generation", "pid", "at"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="print one JSON object per line")
@target_options
def events(as_json: bool, control_socket: Path | None, pid_file: Path | None) -> None:
    """Print what happens to workers as it happens, until Ctrl-C.

    Events are fork, online, listening, ready, message, drain, exit, leader,
    reload, aborted, scale and stop; the lines of an exit name its reason.
    Exits with code 0 when the server ends.
    """
    client = Client(find(control_socket, pid_file))
    # The server's monotonic clock is this process's own: one machine, one difference.
    offset = time.time() - time.monotonic()
    try:
        for answer in client.ask(c.EventsRequest()):
            if answer["answer"] == "event":
                event = answer["event"]
                click.echo(orjson.dumps(event).decode() if as_json else line(event, offset))
                sys.stdout.flush()
            elif answer["answer"] == "failed":
                raise click.ClickException(answer["text"])
    except KeyboardInterrupt:
        pass
    client.close()


def line(event: dict[str, Any], offset: float) -> str:
    """Return an event as ``12:00:00.123 exit slot=1 generation=2 pid=77 reason=killed …``."""
    at = event["at"] + offset
    stamp = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
    slot = f"slot={event['slot']} " if event["slot"] else ""
    rest = " ".join(f"{k}={_value(v)}" for k, v in event.items() if k not in _SHOWN_ELSEWHERE)
    head = f"{stamp} {event['kind']:9} {slot}generation={event['generation']} pid={event['pid']}"
    return f"{head} {rest}".rstrip()


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f'"{text}"' if " " in text else text


# -- ``hybrid top``: the cluster, live -------------------------------------------


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
        updates = 1
        try:
            while updates != count:
                time.sleep(interval)
                fresh, now = add_memory(client.status()), time.monotonic()
                live.update(render(fresh, console.width, seen, now - at), refresh=True)
                seen, at, updates = fresh, now, updates + 1
        except KeyboardInterrupt:
            pass
    client.close()


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
