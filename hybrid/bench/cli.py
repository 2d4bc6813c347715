"""`hybrid bench`: load and calibrate; matrix and report are in a module of their own.

Imports numpy and the rest only when a command runs: `hybrid --help` stays quick,
and `hybrid serve` must limit the BLAS threads before numpy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid.bench.matrix_command import matrix, report

if TYPE_CHECKING:
    from hybrid.bench.load.plan import LoadPlan


@click.group(
    epilog=(
        "\b\nhybrid bench load http://127.0.0.1:8000/hello --rate 2000\n"
        "hybrid bench matrix --quick --html report.html\n"
    )
)
def bench() -> None:
    """Measure hybrid or any other HTTP server."""


@bench.command(
    epilog=(
        "\b\nhybrid bench load http://127.0.0.1:8000/io/wait?ms=20 --rate 500\n"
        "hybrid bench load http://127.0.0.1:8000/hello --concurrency 64\n"
    )
)
@click.argument("url")
@click.option(
    "--rate", type=float, default=100.0, show_default=True, help="requests per second to offer"
)
@click.option(
    "--concurrency",
    type=int,
    default=0,
    help="number of clients in a closed loop, instead of --rate; 0: open loop",
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant", "burst", "trace"]),
    default="poisson",
    show_default=True,
    help="pattern of start times",
)
@click.option(
    "--burst",
    type=int,
    default=10,
    show_default=True,
    help="requests per burst of --arrivals burst",
)
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="file of start times in seconds, one per line, instead of --arrivals",
)
@click.option(
    "--duration", type=float, default=5.0, show_default=True, help="duration of the load in seconds"
)
@click.option(
    "--warmup",
    type=float,
    default=0.5,
    show_default=True,
    help="seconds at the start that do not count",
)
@click.option(
    "--connections",
    type=int,
    default=64,
    show_default=True,
    help="connections to open before the load starts",
)
@click.option(
    "--max-connections",
    type=int,
    default=1024,
    show_default=True,
    help="largest number of connections at once",
)
@click.option("--reconnect-every", type=int, default=0, help="requests per connection; 0: no limit")
@click.option(
    "--timeout",
    type=float,
    default=10.0,
    show_default=True,
    help="seconds after which a request counts as failed",
)
@click.option("--method", default="GET", show_default=True, help="HTTP method")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="header line of every request (repeatable)",
)
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="file to send as the body",
)
@click.option("--seed", type=int, default=1, show_default=True, help="seed of random start times")
@click.option(
    "--out", type=click.Path(path_type=Path), help="file for the times of every request (.npz)"
)
@click.option("--json", "as_json", is_flag=True, help="print the summary as JSON")
def load(url: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Put load on URL and show rates and latencies.

    The load is an open loop: requests start at their intended times even if
    the server stalls, and a stall is not hidden. Ctrl-C ends the load early
    and shows what was measured.
    """
    from rich.console import Console

    from hybrid.bench.load.generator import LoadFailed, LoadGenerator
    from hybrid.bench.report.text import print_load
    from hybrid.bench.server.fingerprint import fingerprint

    try:
        plan = _plan(url, **options)
        plan.check()
        with LoadGenerator() as generator:
            try:
                result = generator.run(plan)
            except KeyboardInterrupt:
                result = generator.interrupt()
    except (LoadFailed, ValueError) as ex:
        raise click.UsageError(str(ex)) from None
    if out is not None:
        result.records.save(out)
    if as_json:
        click.echo(json.dumps({"machine": fingerprint(), **result.summary}, indent=2))
    else:
        print_load(Console(), result.summary)
    if not result.summary["answered"]:
        raise SystemExit(1)


def _plan(url: str, *, rate: float, headers: tuple[str, ...], **options: Any) -> LoadPlan:
    from hybrid.bench.load.plan import LoadPlan, Stream, Target, header

    target = Target.from_url(url)
    trace, body = options.pop("trace"), options.pop("body")
    times = tuple(float(line) for line in trace.read_text().split()) if trace else ()
    stream = Stream(
        "load",
        target.path,
        rate,
        method=options.pop("method"),
        headers=tuple(header(each) for each in headers),
        body_file=str(body.resolve()) if body else "",
        arrivals="trace" if trace else options.pop("arrivals"),
        burst=options.pop("burst"),
        trace=times,
    )
    options.pop("arrivals", None)
    return LoadPlan(target.host, target.port, (stream,), **options)


@bench.command(epilog="\b\nhybrid bench calibrate")
@click.option(
    "--seconds", type=float, default=1.0, show_default=True, help="duration of each step in seconds"
)
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def calibrate(seconds: float, as_json: bool) -> None:
    """Find the load generator's highest rate and CPU per request."""
    from rich.console import Console

    from hybrid.bench.calibrate import calibrate as measure
    from hybrid.bench.report.text import print_calibration
    from hybrid.bench.server.fingerprint import fingerprint

    found = measure(seconds)
    if as_json:
        click.echo(json.dumps({"machine": fingerprint(), **found.to_dict()}, indent=2))
    else:
        print_calibration(Console(), found)


for command in (matrix, report):
    bench.add_command(command)
