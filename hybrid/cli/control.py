"""``hybrid reload``, ``scale``, ``drain``, ``stop``: requests, followed to their end.

Exit code 0: the request has been carried out. 1: it has not; the last line says why.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from hybrid.cli.client import Client, find, target_options
from hybrid.core.messages import control_messages as c

_HELP = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP)
@target_options
def reload(control_socket: Path | None, pid_file: Path | None) -> None:
    """Replace all workers, each only once its successor is ready.

    The configuration file is read again. If it is invalid, or if a new worker
    cannot start, the old workers keep serving, the reason is printed and the
    exit code is 1.
    """
    follow(find(control_socket, pid_file), c.ReloadRequest())


# A negative number is not an option here.
@click.command(context_settings={**_HELP, "ignore_unknown_options": True})
@click.argument("workers", metavar="N|+N|-N")
@target_options
def scale(workers: str, control_socket: Path | None, pid_file: Path | None) -> None:
    """Change the number of workers: to N, by +N or by -N.

    Returns when the new workers are ready, or when the surplus workers have
    finished their requests.
    """
    if not re.fullmatch(r"[+-]?\d{1,4}", workers):
        raise click.BadParameter(
            f"{workers!r} is not a number of workers; write 4, +1 or -1", param_hint="N"
        )
    number = int(workers)
    request = c.ScaleRequest(by=number) if workers[0] in "+-" else c.ScaleRequest(to=number)
    follow(find(control_socket, pid_file), request)


@click.command(context_settings=_HELP)
@click.argument("slot", type=click.IntRange(1))
@target_options
def drain(slot: int, control_socket: Path | None, pid_file: Path | None) -> None:
    """Replace the worker of SLOT once its requests are finished.

    `hybrid status` shows the slots. To run one worker fewer: hybrid scale -1.
    """
    follow(find(control_socket, pid_file), c.DrainRequest(slot))


@click.command(context_settings=_HELP)
@click.option("--now", is_flag=True, help="stop at once, without finishing requests")
@target_options
def stop(now: bool, control_socket: Path | None, pid_file: Path | None) -> None:
    """Finish every request, then stop the server.

    Returns when the server has exited. Repeating the command in the meantime
    changes nothing; repeating it with --now stops the server at once.
    """
    client = Client(find(control_socket, pid_file))
    for answer in client.ask(c.StopRequest(now)):
        if answer["answer"] == "failed":
            raise click.ClickException(answer["text"])
        click.echo(answer["text"])
    if not client.wait_for_exit():
        raise click.ClickException(
            "the server has closed its control socket, but its process still runs"
        )
    click.echo("stopped")


def follow(path: Path, request: c.ControlRequest) -> None:
    """Send a request and show its progress; exit with 1 if it fails."""
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
    raise click.ClickException("the server ended before the request was carried out")
