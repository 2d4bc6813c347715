"""``hybrid reload``, ``scale``, ``drain``, ``stop``: wishes, followed to their end.

Exit code 0: it is so now. 1: it is not, and the last line says why.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from hybrid.cli.client import Client, find, target_options
from hybrid.core import control as c

_HELP = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP)
@target_options
def reload(control_socket: Path | None, pid_file: Path | None) -> None:
    """Replace every worker, each new one ready before its elder leaves.

    The configuration file is read again. When it is invalid, or a new worker
    cannot start, the workers that serve keep serving, the reason is printed
    and the exit code is 1.
    """
    follow(find(control_socket, pid_file), c.Reload())


# A negative number is no option here.
@click.command(context_settings={**_HELP, "ignore_unknown_options": True})
@click.argument("workers", metavar="N|+N|-N")
@target_options
def scale(workers: str, control_socket: Path | None, pid_file: Path | None) -> None:
    """Run N workers, or so many more or less than now.

    Returns when they are ready and, scaling down, when the surplus has
    finished its requests.
    """
    if not re.fullmatch(r"[+-]?\d{1,4}", workers):
        raise click.BadParameter(f"{workers!r} is none of 4, +1, -1", param_hint="N")
    number = int(workers)
    wish = c.Scale(by=number) if workers[0] in "+-" else c.Scale(to=number)
    follow(find(control_socket, pid_file), wish)


@click.command(context_settings=_HELP)
@click.argument("slot", type=click.IntRange(1))
@target_options
def drain(slot: int, control_socket: Path | None, pid_file: Path | None) -> None:
    """Replace the worker of one SLOT; it leaves when its requests are finished.

    To have one worker less instead: hybrid scale -1.
    """
    follow(find(control_socket, pid_file), c.DrainSlot(slot))


@click.command(context_settings=_HELP)
@click.option("--now", is_flag=True, help="without finishing any request")
@target_options
def stop(now: bool, control_socket: Path | None, pid_file: Path | None) -> None:
    """Finish every request, then end; returns when the server is gone.

    Asking again while it finishes changes nothing; with --now it ends at once.
    """
    client = Client(find(control_socket, pid_file))
    for answer in client.ask(c.Stop(now)):
        if answer["answer"] == "failed":
            raise click.ClickException(answer["text"])
        click.echo(answer["text"])
    if not client.wait_for_exit():
        raise click.ClickException("the server has closed its socket but is still there")
    click.echo("stopped")


def follow(path: Path, request: c.Request) -> None:
    """Ask, show the progress, exit with 1 when it does not come to pass."""
    client = Client(path)
    for answer in client.ask(request):
        match answer["answer"]:
            case "progress":
                click.echo(answer["text"])
            case "done":
                click.echo(answer["text"])
                client.close()
                return
            case _:
                click.echo(f"Error: {answer['text']}", err=True)
                sys.exit(1)
    raise click.ClickException("the server ended before it was done")
